"""Read a few neighbouring frames from anywhere in a video: with decord where it is reliable, else with PyAV.

Both give the same frames, but for the rounding of colours. decord exists on few platforms, reads the whole file when it
opens one, and miscounts videos with edit lists or deep colour: it reads what is short and plain.
"""

import functools
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from image_core.errors import MediaError
from osediff_video.media.color import ColorConverter
from osediff_video.media.container import open_container, readable_packets, reason, video_stream
from osediff_video.media.probe import UPRIGHT, VideoInfo, probe

INDEXED = ("mov,mp4", "matroska")  # FFmpeg's names: containers where decord finds the frame it is asked for
SHORT_FRAMES = 2000
HAS_DECORD = importlib.util.find_spec("decord") is not None


@dataclass(frozen=True)
class Index:
    """List where the frames of a video are.

    Where the frames of a video are. times: pts of each, ascending. keys: (pts, where to seek) of the key frames.

    counted: packets carry no pts, `times` are numbers from 0 and the video is read from its beginning. alone: the file
    holds no other video stream.
    """

    info: VideoInfo
    times: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]
    counted: bool
    alone: bool


@functools.lru_cache(maxsize=4096)
def index_video(path: Path) -> Index:
    """Read every packet, decode none but the first frame's. Raises MediaError, also for interlaced video."""
    info = probe(path)
    if info.interlaced:
        raise MediaError(f"{path}: is interlaced; deinterlace it before training on it")
    with open_container(path) as container:
        stream = video_stream(container, path)
        packets = [packet for packet in readable_packets(container, [stream]) if packet.size]
        alone = len(container.streams.video) == 1
    shown = [packet.pts for packet in packets if not packet.is_discard]
    if None in shown:
        return Index(info, tuple(range(len(shown))), (), counted=True, alone=alone)
    keys = [(p.pts, p.pts if p.dts is None else p.dts) for p in packets if p.is_keyframe and p.pts is not None]
    times = sorted({time for time in shown if time is not None})
    return Index(info, tuple(times), tuple(sorted(keys)), counted=False, alone=alone)


def read_frames(path: Path, first: int, count: int) -> NDArray[np.uint8]:
    """Return frames `first` to `first + count` of a video, in order of presentation, (count, H, W, 3) RGB.

    Deeper videos come in 8 bit. Raises MediaError for a video that cannot be read or has no such frames.
    """
    index = index_video(path)
    if first < 0 or first + count > len(index.times):
        raise MediaError(f"{path}: has {len(index.times)} frames, wanted {first} to {first + count - 1}")
    frames = read_with_decord(index, first, count) if HAS_DECORD and is_plain(index) else None
    return read_with_av(index, first, count) if frames is None else frames


def is_plain(index: Index) -> bool:
    """Decide whether decord can be asked at all."""
    info = index.info
    indexed = info.container.startswith(INDEXED) and not index.counted and len(index.times) <= SHORT_FRAMES
    return indexed and index.alone and info.bit_depth == 8 and info.orientation == UPRIGHT and not info.alpha


def read_with_decord(index: Index, first: int, count: int) -> NDArray[np.uint8] | None:
    """Read with decord; None when it fails, or sees another video than FFmpeg: other frames, times or sizes."""
    import decord  # not on every platform

    decord.logging.set_level(decord.logging.QUIET)
    info = index.info
    try:
        reader = decord.VideoReader(str(info.path), num_threads=1)
        if len(reader) != len(index.times):
            return None
        starts = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        frames = reader.get_batch(range(first, first + count)).asnumpy()
    except decord.DECORDError:
        return None
    times = (np.array(index.times) - index.times[0]) * float(info.time_base)
    if np.abs(starts - starts[0] - times).max() > 0.001 or frames.shape[1:3] != (info.height, info.width):
        return None
    return frames


def read_with_av(index: Index, first: int, count: int) -> NDArray[np.uint8]:
    """Read from the key frame before, or from the beginning where seeking does not land there."""
    info, times = index.info, index.times[first : first + count]
    before = [where for time, where in index.keys if time <= times[0]]
    for seek in [before[-1], None] if before else [None]:
        with open_container(info.path) as container:
            stream = video_stream(container, info.path)
            stream.codec_context.thread_count = 1  # the loader runs many of these side by side
            frames = collect(decode_frames(container, stream, seek, info), times, index.counted)
            if len(frames) == count:
                convert = ColorConverter(info.color)
                size = (info.height, info.width) if info.orientation.transpose else (info.width, info.height)
                return np.stack([info.orientation(convert.to_rgb(f, *size, deep=False)[0]) for f in frames])
    raise MediaError(f"{info.path}: frames {first} to {first + count - 1} cannot all be decoded")


def collect(decoded: Iterator[VideoFrame], times: tuple[int, ...], counted: bool) -> list[VideoFrame]:
    """Return the frames of the requested times; fewer when one does not come.

    counted: times are numbers from the beginning.
    """
    frames: list[VideoFrame] = []
    for number, frame in enumerate(decoded):
        time = number if counted else frame.pts
        if time is None or time > times[len(frames)]:
            break
        if time == times[len(frames)]:
            frames.append(frame)
            if len(frames) == len(times):
                break
    return frames


def decode_frames(
    container: InputContainer, stream: VideoStream, seek: int | None, info: VideoInfo
) -> Iterator[VideoFrame]:
    try:
        if seek is not None:
            container.seek(seek, stream=stream)
        yield from container.decode(stream)
    except av.FFmpegError as error:
        raise MediaError(f"{info.path}: decoding failed ({reason(error)})") from error
