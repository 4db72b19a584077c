"""Define the options that say how a video is read and encoded. Shared by every command that handles one."""

from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from cli.help import ENCODING, FARM, OUTPUT, READING, SIZE, STEADINESS, UNCERTAINTY, option, together
from cli.model_options import drawing_options
from osediff_video.encoding import Encoding
from osediff_video.farm.options import FarmOptions
from osediff_video.options import (
    DEINTERLACE,
    PIPE_FORMATS,
    TEMPORALS,
    VideoOptions,
    parse_number,
    parse_segments,
    parse_time,
)


class FrameRate(click.ParamType):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            rate = value if isinstance(value, Fraction) else parse_number(str(value))
        except ValueError:
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


class Segments(click.ParamType):
    name = "segments"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        try:
            return value if isinstance(value, range) else parse_segments(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class EncoderOption(click.ParamType):
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, setting = str(value).partition("=")
        if not key or not equals:
            self.fail(f"expected key=value, got {value!r}", param, ctx)
        return key, setting


range_options = together([
    option(SIZE, "--start", "start_s", type=Time(), help="Time where to begin: seconds or h:mm:ss.  [default: 0]"),
    option(SIZE, "--end", "end_s", type=Time(), help="Time where to stop: seconds or h:mm:ss.  [default: the end]"),
])  # fmt: skip

reading_options = together([
    option(
        READING, "--fps", type=FrameRate(), default="25", show_default=True,
        help="Frames per second of a folder of frames, such as 25 or 30000/1001.",
    ),
    option(
        READING, "--deinterlace", type=click.Choice(DEINTERLACE), default=VideoOptions.deinterlace, show_default=True,
        help="Weave fields into whole images; auto: when both the flags and the images are interlaced.",
    ),
    option(
        READING, "--keep-rotation/--no-keep-rotation",
        help="Keep images as coded and the rotation tag, instead of turning.",
    ),
    option(
        READING, "--allow-damaged", is_flag=True,
        help="Exit with 0 even if the input is truncated; repeat frames over unreadable ones.",
    ),
    option(
        STEADINESS, "--temporal", type=click.Choice(TEMPORALS), default=VideoOptions.temporal, show_default=True,
        help="Way to remove flicker: pixel blends frames along the motion, latent does so inside the model (slower), "
        "off leaves frames as the model made them.",
    ),
    option(
        STEADINESS, "--temporal-strength", type=float, default=VideoOptions.temporal_strength, show_default=True,
        help="Weight of the previous frame in the temporal blend, between 0 and 1.",
    ),
    option(
        STEADINESS, "--flow", default=VideoOptions.flow, show_default=True, metavar="dis|FILE",
        help="Motion estimator: dis needs no weights, FILE holds those of RAFT.",
    ),
    option(
        STEADINESS, "--cuts", default=VideoOptions.cuts, show_default=True, metavar="auto|off|FILE",
        help="Cuts between shots: auto detects them, FILE lists their times, one per line.",
    ),
    option(STEADINESS, "--shots", metavar="FILE", help="TOML file with settings for individual shots."),
])  # fmt: skip

map_options = together([
    option(
        UNCERTAINTY, "--uncertainty", metavar="FOLDER", help="Folder for a map of per-pixel uncertainty of each frame.",
    ),
    drawing_options,
])  # fmt: skip

writing_options = together([
    option(
        ENCODING, "--codec",
        help="Video encoder: x264, x265, av1, vp9, prores, ffv1, or FFmpeg's name.  "
        "[default: x264; x265 for HDR; what keeps transparency]",
    ),
    option(
        ENCODING, "--crf", type=float,
        help="Constant quality of the encoder; lower is better.  [default: visually lossless]",
    ),
    option(ENCODING, "--preset", help="Encoder preset, e.g. slow.  [default: the encoder's]"),
    option(ENCODING, "--pix-fmt", help="Pixel format of the output.  [default: as deep as the source]"),
    option(
        ENCODING, "--encoder-option", "encoder_options", multiple=True, type=EncoderOption(),
        help="Extra encoder option; repeatable.",
    ),
])  # fmt: skip

pipe_option = together([
    option(
        ENCODING, "--pipe-format", type=click.Choice(PIPE_FORMATS), default=VideoOptions.pipe_format, show_default=True,
        help="Container for standard output (--output -).",
    ),
    option(
        OUTPUT, "--realtime", is_flag=True,
        help="Keep up with a live SOURCE on --output -: what is too slow is made without the UNet, or plainly resized.",
    ),
    option(
        OUTPUT, "--latency", "latency_s", type=click.FloatRange(0.05, 60), default=VideoOptions.latency_s,
        show_default=True, help="Seconds that --realtime may write a frame after it is due.",
    ),
])  # fmt: skip

strict_option = option(OUTPUT, "--strict/--no-strict", help="Fail up front if anything would be lost.")
farm_options = together([
    option(
        FARM, "--segments", type=Segments(), metavar="A-B",
        help="Make only these segments of one SOURCE, counted from 0, of a job that `plan` has planned.",
    ),
    option(
        FARM, "--workers", type=click.IntRange(1, 10000), metavar="N",
        help="Number of processes on this machine that make segments, or the most in a cluster.",
    ),
    option(
        FARM, "--cluster", metavar="ADDRESS",
        help="Ray cluster that makes segments: HOST:PORT, or auto for the one this machine is part of.",
    ),
    option(
        FARM, "--worker-cores", type=click.IntRange(1, 10000), metavar="N",
        help="Cores of each worker without a GPU.  [default: an even share of this machine, in a cluster 4]",
    ),
    option(FARM, "--ship-input", is_flag=True, help="Send each SOURCE to the machines of the cluster, once."),
    option(FARM, "--allow-public", is_flag=True, help="Accept a cluster at a public address, which is dangerous."),
    option(
        FARM, "--allow-mixed", is_flag=True,
        help="Accept machines with another kind of device, processor, torch or state of this program; bits may differ.",
    ),
])  # fmt: skip

overwrite_option = option(OUTPUT, "--overwrite", is_flag=True, help="Replace an existing output.")


def pop_farm(values: dict[str, Any]) -> FarmOptions | None:
    """Take out of `values` what `farm_options` added to it, but for --segments; None where one process does all.

    Raises UsageError.
    """
    workers, cluster, cores = values.pop("workers"), values.pop("cluster"), values.pop("worker_cores")
    ship_input, public, mixed = values.pop("ship_input"), values.pop("allow_public"), values.pop("allow_mixed")
    for name, given in (("--ship-input", ship_input), ("--allow-public", public)):
        if given and cluster is None:
            raise click.UsageError(f"{name} concerns a cluster; add --cluster")
    if workers is None and cluster is None:
        if cores is not None:
            raise click.UsageError("--worker-cores concerns several workers; add --workers or --cluster")
        return None
    return FarmOptions(workers, cluster, cores, ship_input, mixed, public)


def split_command(_: click.Context, __: click.Parameter, words: str | None) -> list[str] | None:
    """Return the words of the command to run on a result. Raises OutputError where there is no such program."""
    if words is None:
        return None

    from osediff_video.workflow.on_done import command_words

    return command_words(words)


on_done_option = option(
    OUTPUT, "--on-done", metavar="COMMAND", callback=split_command,
    help="Command to run on each finished result, whose path is its last argument; no shell reads it.",
)  # fmt: skip


def video_options(values: dict[str, Any]) -> VideoOptions:
    """Take out of `values` what the options of a video added to it; those a command lacks keep their defaults.

    Raises UsageError.
    """
    names = [field.name for field in fields(VideoOptions) if field.name in values]
    try:
        return VideoOptions(**{name: values.pop(name) for name in names})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def encoding(values: dict[str, Any]) -> Encoding:
    """Take out of `values` what `writing_options` added to it."""
    return Encoding(
        values.pop("codec"),
        values.pop("crf"),
        values.pop("preset"),
        values.pop("pix_fmt"),
        dict(values.pop("encoder_options")),
    )


def check_named_files(options: VideoOptions) -> None:
    """Read the small files that options name, before a model is loaded. Raises OseDiffError."""
    if options.flow != "dis" and not Path(options.flow).is_file():
        from image_core.errors import CheckpointError

        raise CheckpointError(
            f"{options.flow}: no such file; expected weights of RAFT, or --flow dis, which needs none"
        )
    if options.cuts not in ("auto", "off"):
        from osediff_video.shots.cuts import read_cut_list

        read_cut_list(Path(options.cuts))
    if options.shots:
        from osediff_video.shots.shot_list import read_shot_list

        read_shot_list(Path(options.shots))
