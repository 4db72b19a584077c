"""Frames out of a film: all of them, upright, in RGB, each with its exact time."""

from collections.abc import Iterator
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.color import ColorConverter
from osediff_video.media.probe import film_stream, open_film, reason
from osediff_video.types import Frame, Picture, VideoInfo


def read_frames(info: VideoInfo) -> Iterator[Frame]:
    """Decode the film from its start to its end, the decoder's delayed frames included.

    Frames are uint8 for sources of 8 bit, uint16 for deeper ones, of the size in `info`. Raises MediaError with the
    number of the frame where decoding fails, or when no frame comes out at all.
    """
    convert, deep = ColorConverter(info.color), info.bit_depth > 8
    turns = info.rotation // 90
    width, height = (info.height, info.width) if turns % 2 else (info.width, info.height)
    with open_film(info.path) as container:
        stream = film_stream(container, info.path)
        usual = max(1, round(1 / (info.frame_rate * info.time_base)))
        count, next_pts = 0, 0
        for frame in decode(container, stream, info):
            pts = frame.pts
            if pts is None or (count and pts < next_pts):
                # no time, or not after its predecessor: the next free tick, since an encoder refuses a second one
                pts = next_pts
            duration = frame.duration or usual
            yield Frame(turned(convert.to_rgb(frame, width, height, deep), turns), pts, duration)
            count += 1
            next_pts = pts + (duration if frame.pts is None else 1)
        if not count:
            raise MediaError(f"{info.path}: holds no frame that can be decoded")


def turned(image: Picture, quarter_turns: int) -> Picture:
    """Turned counter-clockwise; rows contiguous in memory."""
    return cast(Picture, np.ascontiguousarray(np.rot90(image, quarter_turns))) if quarter_turns else image


def decode(container: InputContainer, stream: VideoStream, info: VideoInfo) -> Iterator[VideoFrame]:
    """As `container.decode`, with errors that name the frame."""
    count = 0
    try:
        for frame in container.decode(stream):
            count += 1
            yield frame
    except av.FFmpegError as error:
        raise MediaError(
            f"{info.path}: frame {count} cannot be decoded ({reason(error)}); the file is damaged there"
        ) from error
