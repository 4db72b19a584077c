"""Decide and check what will be done with one video, before the long work."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from image_core.errors import OutputError
from image_core.images import scaled_size
from image_core.options import MAX_SCALE, MIN_SCALE
from osediff_video.encoding import Encoding
from osediff_video.media.reading.stdin import PIPE
from osediff_video.media.stream_plan import StreamPlan, plan_streams, try_streams
from osediff_video.media.writing.encoder import EncoderPlan, plan_encoder
from osediff_video.media.writing.encoder_check import try_encoder
from osediff_video.media.writing.stdout import MUXER
from osediff_video.options import VideoOptions, parse_size
from osediff_video.sources.animation import AnimationSource
from osediff_video.sources.open import open_source
from osediff_video.suffixes import CONTAINERS, ending
from osediff_video.target import check_target
from osediff_video.types import Source, VideoInfo

DEFAULTS = VideoOptions()
LEAST_BYTES_PER_PIXEL = 0.005
"""What even a still scene takes once encoded: less room than this is refused before work."""


@dataclass(frozen=True)
class VideoPlan:
    """Hold what will be done with one video.

    source: opened, nothing decoded yet.
    path: what the user named, whose other streams are carried over.
    target: path of the result; its suffix selects the container.
    height, width: size of the output in pixels.
    encoder: how the images are encoded.
    streams: every stream of the video and what happens to it.
    notes: what the user should know before and after.
    sources: paths that must not be written to.
    overwrite: an existing target may be replaced.
    """

    source: Source
    path: Path
    target: Path
    height: int
    width: int
    encoder: EncoderPlan
    streams: tuple[StreamPlan, ...]
    notes: tuple[str, ...]
    options: VideoOptions
    sources: tuple[Path, ...]
    overwrite: bool = False

    @property
    def info(self) -> VideoInfo:
        return self.source.info

    @property
    def suffix(self) -> str:
        return ending(self.target)

    @property
    def is_piped(self) -> bool:
        return self.target == PIPE

    @property
    def is_video(self) -> bool:
        """Return whether the result has a clock and other streams, unlike a folder or a GIF."""
        return self.suffix not in ("", ".gif")  # a pipe has no suffix

    @property
    def segment_frames(self) -> int:
        """Return the number of frames between two points of resumption: about four seconds."""
        return max(24, min(240, round(4 * self.info.frame_rate)))


def plan_video(
    source: Path,
    target: Path,
    scale: float,
    encoding: Encoding,
    options: VideoOptions,
    *,
    overwrite: bool = False,
    room: bool = True,
) -> VideoPlan:
    """Probe, choose and try everything. Raises MediaError or OutputError for what would fail later.

    room: the whole result has to fit on the disk.
    """
    check_target(source, target, overwrite, encoding.frames)
    opened, notes = open_source(source, options)
    return plan_opened(opened, source, target, scale, encoding, options, notes, overwrite=overwrite, room=room)


def plan_opened(
    opened: Source,
    source: Path,
    target: Path,
    scale: float,
    encoding: Encoding,
    options: VideoOptions = DEFAULTS,
    notes: list[str] | None = None,
    *,
    sources: Sequence[Path] = (),
    overwrite: bool = False,
    room: bool = True,
) -> VideoPlan:
    """Plan the upscaling of frames from `opened`, with all other streams from the video `source`.

    sources: everything that must not be touched, if that is not `source` alone. Raises MediaError or OutputError.
    """
    sources = tuple(sources) or (source,)
    check_target(sources, target, overwrite, encoding.frames)
    info, notes = opened.info, notes or []
    height, width = output_size(info.height, info.width, scale, options.size)
    suffix = ending(target)
    if target == PIPE:
        return plan_pipe(opened, height, width, encoding, options, notes)
    if options.realtime:
        raise OutputError(f"{target}: a file can wait; --realtime is for standard output (--output -): leave it out")
    encoder = plan_encoder(info, width, height, encoding, suffix)
    notes += encoder.notes
    streams: list[StreamPlan] = []
    if suffix not in ("", ".gif"):
        try_encoder(encoder, CONTAINERS[suffix], encoding)
        if source == PIPE:
            notes.append("of a video from a pipe only the images are kept; give the file itself to keep everything")
        elif is_video(source, opened):
            streams = [cut_timecode(stream, options) for stream in plan_streams(source, CONTAINERS[suffix])]
            try_streams(source, streams, CONTAINERS[suffix])
    elif is_video(source, opened):
        streams = plan_streams(source, "gif")
    lost = [str(stream) for stream in streams if stream.lossy] + list(encoder.losses)
    if options.strict and lost:
        raise OutputError(f"{target}: with --strict nothing may be lost, but {'; '.join(lost)}")
    if room:
        check_room(info, height, width, target)
    return VideoPlan(
        opened, source, target, height, width, encoder, tuple(streams), tuple(notes), options, sources, overwrite
    )


def cut_timecode(stream: StreamPlan, options: VideoOptions) -> StreamPlan:
    if stream.kind != "timecode" or options.start_s is None:
        return stream
    return replace(stream, action="drop", reason="the cut begins at another time code than the video")


def is_video(path: Path, opened: Source) -> bool:
    """Return whether there are other streams to carry over."""
    return path.is_file() and not isinstance(opened, AnimationSource)


def plan_pipe(
    source: Source, height: int, width: int, encoding: Encoding, options: VideoOptions, notes: list[str]
) -> VideoPlan:
    """Plan output to standard output: lossless unless the user chose a codec, images only."""
    codec = "rawvideo" if options.pipe_format == "y4m" else encoding.codec or "ffv1"
    encoder = plan_encoder(source.info, width, height, replace(encoding, codec=codec), ".mkv")
    if options.pipe_format == "y4m":
        encoder = replace(encoder, time_base=1 / encoder.rate)
        notes.append("y4m knows a frame rate but no times: a video of varying rate plays at its average")
    notes += encoder.notes
    try_encoder(encoder, MUXER[options.pipe_format], encoding)
    if options.strict and encoder.losses:
        raise OutputError(f"standard output: with --strict nothing may be lost, but {'; '.join(encoder.losses)}")
    return VideoPlan(
        source, source.info.path, PIPE, height, width, encoder, (), tuple(notes), options, (source.info.path,)
    )


def output_size(height: int, width: int, scale: float, size: str | None = None) -> tuple[int, int]:
    """Return height and width of the output for an input of this size.

    size: "1080p", "4k", a short side in pixels or WIDTHxHEIGHT, instead of `scale`. Raises OutputError when that is out
    of the model's range.
    """
    if size is None:
        return scaled_size(height, width, scale)
    target_height, target_width = parse_size(size, height, width)
    factors = (target_height / height, target_width / width)
    if min(factors) < MIN_SCALE or max(factors) > MAX_SCALE:
        raise OutputError(
            f"--size {size} is {target_width} x {target_height}, {min(factors):.2f} to {max(factors):.2f} times the "
            f"input of {width} x {height}; expected {MIN_SCALE:g} to {MAX_SCALE:g} times"
        )
    return target_height, target_width


def check_room(info: VideoInfo, height: int, width: int, target: Path) -> None:
    """Raise OutputError when the disk cannot possibly hold the result twice: as segments and as a whole."""
    needed = (info.frame_count_estimate or 0) * height * width * LEAST_BYTES_PER_PIXEL * 2
    free = shutil.disk_usage(target.absolute().parent).free
    if needed > free:
        raise OutputError(
            f"{target}: at least {needed / 1e9:.1f} GB are needed there, {free / 1e9:.1f} GB are free; make room or "
            "choose another disk"
        )
