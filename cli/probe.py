"""`osediff-video probe`"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.sources import video_target
from cli.video_options import check_named_files, encoding, reading_options, video_options, writing_options
from image_core.options import MAX_SCALE, MIN_SCALE, UpscaleOptions

if TYPE_CHECKING:
    from osediff_video.plan import VideoPlan


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The target to plan for.  [default: as upscale]")
@click.option(
    "--scale",
    type=click.FloatRange(MIN_SCALE, MAX_SCALE),
    default=UpscaleOptions.scale,
    show_default=True,
    help="Output size / input size.",
)
@reading_options
@writing_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def probe(source: Path, output: Path | None, scale: float, as_json: bool, **values: Any) -> None:
    """Say what SOURCE holds and what `upscale` with the same options would make of it. Writes nothing."""
    options, how = video_options(values), encoding(values)
    target = video_target(source, output, options.size or f"x{scale:g}", False)
    check_named_files(options)

    from cli.progress import plan_facts
    from osediff_video.plan import plan_video

    plan = plan_video(source, target, scale, how, options)
    if as_json:
        click.echo(json.dumps(plan_facts(plan), indent=1))
    else:
        for name, value in rows(plan).items():
            click.echo(f"{name:10} {value}")
        for stream in plan.streams:
            where = f"stream {stream.index}" if stream.index >= 0 else "video"
            click.echo(f"{where:10} {stream.kind} {stream.codec}".rstrip() + f" {stream.fate}")
        for note in plan.notes:
            click.echo(f"{'note':10} {note}")


def rows(plan: "VideoPlan") -> dict[str, str]:
    info, color = plan.info, plan.info.color
    return {
        "size": f"{info.width} x {info.height}, pixel aspect {info.sample_aspect_ratio}",
        "frames": f"about {info.frame_count_estimate}" if info.frame_count_estimate else "unknown before decoding",
        "duration": f"{info.duration_s:.3f} s" if info.duration_s else "unknown",
        "rate": f"{info.frame_rate} per second (a hint; timestamps are kept as they are)",
        "time base": f"{info.time_base} s",
        "samples": f"{info.codec} {info.pix_fmt}, {info.bit_depth} bit{', with transparency' if info.alpha else ''}",
        "colour": f"matrix {color.matrix}{' (guessed from the size)' if color.guessed else ''}, primaries "
        f"{color.primaries}, transfer {color.transfer}, {'full' if color.full_range else 'limited'} range",
        "output": f"{plan.target} {plan.width} x {plan.height}, {plan.encoder.codec} {plan.encoder.pix_fmt}",
    }
