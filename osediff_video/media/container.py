"""Open a container, choose its video stream, and read packets over damage."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.stdin import PIPE, Replay, standard_input

DECODER_THREADS = 4
IO_TIMEOUT_S = 60.0
MOST_UNREADABLE = 100


def reason(error: Exception) -> str:
    """FFmpeg's own words, without its number and the path that our message names already."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """A video opened for reading, `-` is standard input. Raises MediaError for whatever cannot be opened."""
    if path == PIPE:
        source: str | Replay = standard_input().rewind()
    elif path.is_dir():
        raise MediaError(f"{path}: is a folder; expected a video")
    elif not path.exists():
        raise MediaError(f"{path}: no such file")
    elif path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty (0 bytes)")
    else:
        source = str(path)
    try:
        container = av.open(source, metadata_errors="replace", timeout=IO_TIMEOUT_S)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaError(
            f"{path}: not a video that FFmpeg can read, or cut off before its index ({reason(error)})"
            + pipe_advice(path)
        ) from error
    assert isinstance(container, InputContainer)
    with container:
        yield container


def pipe_advice(path: Path) -> str:
    return "; MP4 and MOV cannot be read from a pipe, send matroska, nut or y4m" if path == PIPE else ""


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover image. Raises MediaError when there is none."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            # not by frames: those threads report damage packets late and lose good frames at the end; one thread
            # decodes many times faster than any model works
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = DECODER_THREADS
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
    raise MediaError(f"{path}: holds no video stream that can be decoded (found: {kinds})")


class UnreadableError(MediaError):
    """So much of a file cannot be read that reading on is pointless."""


def readable_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """Packets of `streams` in the order of the file and the flushing ones, over whatever cannot be read.

    Raises UnreadableError after many failures, MediaError when the file itself is gone.
    """
    packets, failures = container.demux(streams), 0
    while True:
        try:
            packet = next(packets, None)
        except (av.InvalidDataError, av.EOFError, IndexError) as error:
            # an IndexError is PyAV's when a damaged file seems to begin a new stream
            failures += 1
            if failures > MOST_UNREADABLE:
                raise UnreadableError(f"{container.name}: unreadable data ({reason(error)})") from error
            packets = container.demux(streams)
            continue
        except av.FFmpegError as error:
            raise MediaError(f"{container.name}: reading failed ({reason(error)}); is the file still there?") from error
        if packet is None:
            return
        yield packet


def ticks(stream: VideoStream) -> Fraction:
    """Seconds per unit of the stream's timestamps."""
    assert stream.time_base is not None, "every demuxed stream has a time base"
    return Fraction(stream.time_base)
