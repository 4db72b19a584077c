"""`osediff-video probe`"""

from pathlib import Path

import click


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
def probe(source: Path) -> None:
    """Say what the film SOURCE holds: size, timing, depth and colour of its video stream."""
    from osediff_video.media.probe import probe as probe_file

    info = probe_file(source)
    color = info.color
    rows = {
        "size": f"{info.width} x {info.height}, pixel aspect {info.sample_aspect_ratio}",
        "frames": f"about {info.frame_count_estimate}" if info.frame_count_estimate else "unknown before decoding",
        "duration": f"{info.duration_s:.3f} s" if info.duration_s else "unknown",
        "rate": f"{info.frame_rate} per second (a hint; timestamps are kept as they are)",
        "time base": f"{info.time_base} s",
        "depth": f"{info.bit_depth} bit",
        "colour": f"matrix {color.matrix}{' (guessed from the size)' if color.guessed else ''}, primaries "
        f"{color.primaries}, transfer {color.transfer}, {'full' if color.full_range else 'limited'} range",
    }
    for name, value in rows.items():
        click.echo(f"{name:10} {value}")
