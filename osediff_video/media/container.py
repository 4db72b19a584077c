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
from osediff_video.media.reading.stdin import PIPE, Replay, standard_input

DECODER_THREADS = 4
IO_TIMEOUT_S = 60.0
MOST_UNREADABLE = 100
FILE = "file:"
"""The protocol of FFmpeg that names a file."""

FAR_AHEAD = {"analyzeduration": "120000000", "probesize": "200000000"}
"""How far to look for streams: microseconds and bytes."""


def ffmpeg_name(path: Path) -> str:
    """Return the name under which FFmpeg opens a file, and nothing else: a bare name may look like an address."""
    return f"{FILE}{path.absolute()}"


def reason(error: Exception) -> str:
    """Return FFmpeg's own words, without its number and the path that our message already names."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a video for reading; `-` is standard input. Raises MediaError for anything that cannot be opened."""
    if path == PIPE:
        source: str | Replay = standard_input().rewind()
    elif path.is_dir():
        raise MediaError(f"{path}: is a folder; expected a video")
    elif not path.exists():
        raise MediaError(f"{path}: no such file")
    elif path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: is empty (0 bytes)")
    else:
        source = ffmpeg_name(path)
    try:
        container = av.open(source, metadata_errors="replace", timeout=IO_TIMEOUT_S)
        if container.format.name == "mpeg" and isinstance(
            source, str
        ):  # its header lists no streams: sound may begin at any time
            container.close()
            container = av.open(source, metadata_errors="replace", timeout=IO_TIMEOUT_S, options=FAR_AHEAD)
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
    """Return the video that players show: the default one that moves. Raises MediaError when there is none.

    A cover image is none, and a still image only where there is nothing else.
    """
    candidates = [
        s for s in container.streams.video if not s.disposition & Disposition.attached_pic and s.codec_context
    ]
    ranked = sorted(candidates, key=lambda s: (s.frames == 1, not s.disposition & Disposition.default, s.index))
    for stream in ranked[:1]:
        if stream.codec_context is not None:
            # not by frames: those threads report damage packets late and lose good frames at the end; one thread
            # decodes many times faster than any model works
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = DECODER_THREADS
            return stream
    kinds = ", ".join(stream.type for stream in container.streams) or "nothing"
    raise MediaError(f"{path}: holds no video stream that can be decoded (found: {kinds})")


class UnreadableError(MediaError):
    """Report that too much of a file is unreadable for reading on."""


def readable_packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet]:
    """Yield packets of `streams` in file order, then the flushing ones; unreadable data is skipped.

    Raises UnreadableError after many failures, MediaError when the file itself is gone.
    """
    packets, failures, name = container.demux(streams), 0, container.name.removeprefix(FILE)
    while True:
        try:
            packet = next(packets, None)
        except (av.InvalidDataError, av.EOFError, IndexError) as error:
            # an IndexError is PyAV's when a damaged file seems to begin a new stream
            failures += 1
            if failures > MOST_UNREADABLE:
                raise UnreadableError(f"{name}: unreadable data ({reason(error)})" + pipe_advice(Path(name))) from error
            packets = container.demux(streams)
            continue
        except av.FFmpegError as error:
            raise MediaError(f"{name}: reading failed ({reason(error)}); is the file still there?") from error
        if packet is None:
            return
        yield packet


def ticks(stream: VideoStream) -> Fraction:
    """Return the seconds per unit of the stream's timestamps."""
    assert stream.time_base is not None, "every demuxed stream has a time base"
    return Fraction(stream.time_base)
