"""`osediff-video preview`"""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from cli.model_options import build_upscaler, model_options, say
from cli.video_options import Time, encoding, size_option, writing_options


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: beside SOURCE]")
@click.option("--at", "at_s", type=Time(), help="Where the sample begins.  [default: after a third]")
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=3.0, show_default=True, help="Its length.")
@size_option
@model_options
@writing_options
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def preview(
    source: Path,
    output: Path | None,
    at_s: Fraction | None,
    seconds: float,
    size: str | None,
    overwrite: bool,
    **values: Any,
) -> None:
    """Upscale a short sample of SOURCE, show it beside the input, and say how long the whole video would take."""
    how = encoding(values)
    target = output or source.with_name(f"{source.stem}_preview.mp4")

    from cli.progress import Teller, clock
    from osediff_video.media.probe import probe
    from osediff_video.options import VideoOptions
    from osediff_video.plain_resize import PlainResize
    from osediff_video.plan import plan_opened
    from osediff_video.run import carry_out, upscale_video
    from osediff_video.sources.comparison import open_comparison
    from osediff_video.target import check_target

    check_target(source, target, overwrite)
    info = probe(source)
    start = at_s if at_s is not None else Fraction(info.duration_s or 0) / 3
    try:
        part = VideoOptions(size=size, start_s=start, end_s=start + Fraction(seconds))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    upscaler = build_upscaler(**values)
    teller = Teller(source)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".preview.") as folder:
        sample = Path(folder) / "sample.mkv"
        result = upscale_video(source, sample, upscaler, how, part, progress=teller.progress)
        teller.end()
        plan = plan_opened(
            open_comparison(source, sample, "side", part),
            sample,
            target,
            1.0,
            how,
            sources=(source,),
            overwrite=overwrite,
        )
        carry_out(plan, PlainResize(), restart=True)
    say(f"{target}: {result.frames} frames from {clock(float(start))}, the input on the left")
    each_s = result.elapsed_s / result.frames
    if info.frame_count_estimate:
        say(
            f"measured: {1 / each_s:.2f} fps; the whole video of about {info.frame_count_estimate} frames would take "
            f"{clock(each_s * info.frame_count_estimate)} (h:mm:ss or m:ss) here"
        )
    else:
        say(f"measured: {1 / each_s:.2f} fps; the video does not say how many frames it has")
