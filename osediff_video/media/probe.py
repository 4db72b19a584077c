"""Facts about a film, from its header and its first frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.color import BT709, RGB, UNSAID, guess_matrix, is_rgb
from osediff_video.types import ColorTags, VideoInfo

FALLBACK_RATE = Fraction(25)
DECODER_THREADS = 4


def reason(error: Exception) -> str:
    """FFmpeg's own words, without its number and the path that our message names already."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def open_film(path: Path) -> Iterator[InputContainer]:
    """A film opened for reading. Raises MediaError for whatever cannot be opened, in words of ours."""
    if path.is_dir():
        raise MediaError(f"{path}: is a folder; expected a film")
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty (0 bytes)")
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path}: not a film that FFmpeg can read, or cut off before its index ({reason(error)})"
        ) from error
    with container:
        yield container


def film_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture. Raises MediaError when there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = DECODER_THREADS
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
    raise MediaError(f"{path}: holds no video stream that can be decoded (found: {kinds})")


def probe(path: Path) -> VideoInfo:
    """Open the film and decode its first frame. Raises MediaError."""
    with open_film(path) as container:
        stream = film_stream(container, path)
        frame = first_frame(container, stream, path)
        rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
        duration_s = film_duration(container, stream)
        upright = frame.rotation % 180 == 0
        ratio = stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or Fraction(1)
        ratio = ratio if ratio > 0 else Fraction(1)
        return VideoInfo(
            path=path,
            width=frame.width if upright else frame.height,
            height=frame.height if upright else frame.width,
            time_base=ticks(stream),
            frame_rate=Fraction(rate),
            frame_count_estimate=stream.frames or (round(duration_s * rate) if duration_s else None),
            duration_s=duration_s,
            bit_depth=max(component.bits for component in frame.format.components),
            color=color_tags(frame, float(rate)),
            sample_aspect_ratio=ratio if upright else 1 / ratio,
            rotation=frame.rotation % 360,
            pix_fmt=frame.format.name,
        )


def first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    try:
        return next(container.decode(stream))
    except StopIteration:
        raise MediaError(f"{path}: holds no frame that can be decoded; it is cut off or damaged") from None
    except av.FFmpegError as error:
        name = stream.codec_context.name
        raise MediaError(f"{path}: the first frame cannot be decoded ({name}: {reason(error)})") from error


def ticks(stream: VideoStream) -> Fraction:
    """Seconds per unit of the stream's timestamps."""
    assert stream.time_base is not None, "every demuxed stream has a time base"
    return Fraction(stream.time_base)


def film_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def color_tags(frame: VideoFrame, rate: float) -> ColorTags:
    """What the first frame says of its colour, with the matrix guessed where it says nothing."""
    if is_rgb(frame.format.name):
        return ColorTags(RGB, int(frame.color_primaries), int(frame.color_trc), True)
    matrix = int(frame.colorspace)
    guessed = matrix == UNSAID
    if guessed:
        matrix = guess_matrix(frame.height, rate)
    elif matrix == RGB:
        matrix = BT709  # a YCbCr format cannot mean RGB: a wrong tag
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    return ColorTags(matrix, int(frame.color_primaries), int(frame.color_trc), full, guessed)
