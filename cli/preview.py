"""Define the command `osediff-video preview`."""

import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from cli.help import OUTPUT, SIZE, command, option
from cli.model_options import build_upscaler, image_options, model_options, size_options
from cli.printing import say
from cli.video_options import (
    Time,
    check_named_files,
    encoding,
    overwrite_option,
    reading_options,
    video_options,
    writing_options,
)
from osediff_video.suffixes import split_pattern


@command()
@click.argument("source", type=click.Path(path_type=Path))
@option(
    OUTPUT,
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Video to write.  [default: NAME_preview.mp4 beside SOURCE]",
)
@overwrite_option
@option(SIZE, "--at", "at_s", type=Time(), help="Time where the sample begins.  [default: after a third]")
@option(
    SIZE,
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=3.0,
    show_default=True,
    help="Length of the sample in seconds, 0.1 to 60.",
)
@size_options
@model_options
@reading_options
@writing_options
def preview(
    source: Path, output: Path | None, overwrite: bool, at_s: Fraction | None, seconds: float, **values: Any
) -> None:  # fmt: skip
    """Upscale a short sample of SOURCE, show it beside the input, and say how long the whole video would take.

    SOURCE is a video or a folder of frames; the options are those of `upscale`.
    """
    images, how = image_options(values), encoding(values)
    origin = split_pattern(source)[0].resolve()
    target = output or origin.with_name(f"{origin.stem}_preview.mp4")
    options = video_options(values)
    check_named_files(options)

    from cli.progress import Teller, clock
    from osediff_video.plain_resize import PlainResize
    from osediff_video.plan import plan_opened
    from osediff_video.run import carry_out, upscale_video
    from osediff_video.sources.comparison import open_comparison
    from osediff_video.sources.open import open_source
    from osediff_video.target import check_target

    check_target(source, target, overwrite)
    info = open_source(source, options)[0].info
    start = at_s if at_s is not None else Fraction(info.duration_s or 0) / 3
    part = replace(options, start_s=start, end_s=start + Fraction(seconds))
    upscaler = build_upscaler(images, **values)
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
