"""Define the command `osediff-video preview`."""

import tempfile
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

    from cli.jobs.progress import Teller, clock
    from osediff_video.plain_resize import PlainResize
    from osediff_video.plan import plan_opened
    from osediff_video.run import carry_out
    from osediff_video.sources.comparison import open_comparison
    from osediff_video.target import check_target
    from osediff_video.workflow.preview import make_sample

    check_target(source, target, overwrite)
    upscaler = build_upscaler(images, **values)
    teller = Teller(source)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".preview.") as folder:
        file = Path(folder) / "sample.mkv"
        sample = make_sample(source, file, upscaler, how, options, at_s, Fraction(seconds), teller.progress)
        teller.end()
        plan = plan_opened(
            open_comparison(source, file, "side", sample.part),
            file,
            target,
            1.0,
            how,
            sources=(source,),
            overwrite=overwrite,
        )
        carry_out(plan, PlainResize(), restart=True)
    begins_s = float(sample.part.start_s or 0)
    say(f"{target}: {sample.result.frames} frames from {clock(begins_s)}, the input on the left")
    if sample.whole_s is not None:
        say(
            f"measured: {1 / sample.frame_s:.2f} fps; the whole video of about {sample.whole_frames} frames would take "
            f"{clock(sample.whole_s)} (h:mm:ss or m:ss) here"
        )
    else:
        say(f"measured: {1 / sample.frame_s:.2f} fps; the video does not say how many frames it has")
