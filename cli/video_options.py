"""The options that say how a video is read and encoded. Shared by every command that handles one."""

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from cli.model_options import DRAWING, together
from osediff_video.encoding import Encoding
from osediff_video.options import DEINTERLACE, PIPE_FORMATS, TEMPORALS, VideoOptions, parse_time


class FrameRate(click.ParamType):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            self.fail(f"expected a rate such as 25 or 30000/1001, got {value!r}", param, ctx)
        return rate


class Time(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            return value if isinstance(value, Fraction) else parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class EncoderOption(click.ParamType):
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, setting = str(value).partition("=")
        if not key or not equals:
            self.fail(f"expected key=value, got {value!r}", param, ctx)
        return key, setting


size_option = click.option("--size", help="Output size instead of --scale: 1080p, 4k, a short side, or WIDTHxHEIGHT.")

READING = (
    size_option,
    click.option("--start", "start_s", type=Time(), help="Begin here: seconds, or h:mm:ss."),
    click.option("--end", "end_s", type=Time(), help="Stop before this time."),
    click.option("--fps", type=FrameRate(), default="25", show_default=True, help="Frame rate of a folder of frames."),
    click.option(
        "--deinterlace", type=click.Choice(DEINTERLACE), default=VideoOptions.deinterlace, show_default=True,
        help="auto: when the video says and looks so.",
    ),
    click.option("--keep-rotation", is_flag=True, help="Keep images as coded, and the rotation tag."),
    click.option(
        "--temporal", type=click.Choice(TEMPORALS), default=VideoOptions.temporal, show_default=True,
        help="How flicker is removed: pixel blends along the motion, latent does so inside the model (slower), "
        "off leaves frames as the model made them.",
    ),
    click.option(
        "--temporal-strength", type=float, default=VideoOptions.temporal_strength, show_default=True,
        help="Of that blend, between 0 and 1.",
    ),
    click.option("--shots", metavar="FILE", help="TOML that says how single shots are treated otherwise."),
    click.option("--uncertainty", metavar="FOLDER", help="Write a map of what is uncertain in each frame."),
    *DRAWING,
    click.option(
        "--flow", default=VideoOptions.flow, show_default=True, metavar="dis|FILE",
        help="What finds the motion; FILE holds weights of RAFT.",
    ),
    click.option(
        "--cuts", default=VideoOptions.cuts, show_default=True, metavar="auto|off|FILE",
        help="Where shots begin; FILE lists times, one a line.",
    ),
    click.option(
        "--pipe-format", type=click.Choice(PIPE_FORMATS), default=VideoOptions.pipe_format, show_default=True,
        help="What goes to standard output.",
    ),
    click.option("--strict", is_flag=True, help="Fail before work when anything cannot be kept."),
    click.option("--allow-damaged", is_flag=True, help="A video that ends early is no failure."),
)  # fmt: skip

WRITING = (
    click.option(
        "--codec",
        help="Video encoder: x264, x265, av1, vp9, prores, ffv1, or FFmpeg's name.  "
        "[default: x264; x265 for HDR; what keeps transparency]",
    ),
    click.option("--crf", type=float, help="Quality of the encoder; lower is better.  [default: visually lossless]"),
    click.option("--preset", help="Speed of the encoder, in its own words."),
    click.option("--pix-fmt", help="Pixel format.  [default: as deep as the source]"),
    click.option(
        "--encoder-option", "encoder_options", multiple=True, type=EncoderOption(), help="More for the encoder."
    ),
)  # fmt: skip


reading_options, writing_options = together(READING), together(WRITING)


def video_options(values: dict[str, Any]) -> VideoOptions:
    """Take what `reading_options` added out of `values`. Raises UsageError."""
    try:
        return VideoOptions(**{field.name: values.pop(field.name) for field in fields(VideoOptions)})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def encoding(values: dict[str, Any]) -> Encoding:
    """Take what `writing_options` added out of `values`."""
    return Encoding(
        values.pop("codec"),
        values.pop("crf"),
        values.pop("preset"),
        values.pop("pix_fmt"),
        dict(values.pop("encoder_options")),
    )


def check_named_files(options: VideoOptions) -> None:
    """Read what is quickly read of the files that options name. Raises OseDiffError."""
    from image_core.errors import CheckpointError
    from osediff_video.shots.cuts import read_cut_list
    from osediff_video.shots.shot_list import read_shot_list

    if options.flow != "dis" and not Path(options.flow).is_file():
        raise CheckpointError(
            f"{options.flow}: no such file; expected weights of RAFT, or --flow dis, which needs none"
        )
    if options.cuts not in ("auto", "off"):
        read_cut_list(Path(options.cuts))
    if options.shots:
        read_shot_list(Path(options.shots))
