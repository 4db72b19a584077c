"""Frames out of a film: all of them, upright, in RGB, each with its exact time."""

from collections.abc import Iterator
from dataclasses import replace
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
        held: Frame | None = None  # until its successor's time says how long it lasts
        for frame in decode(container, stream, info):
            pts = frame.pts
            if held is None:
                pts = pts or 0
            elif pts is None or pts <= held.pts:
                # no time, or not after its predecessor, which no encoder takes
                pts = held.pts + (held.duration if pts is None else 1)
            if held is not None:
                yield replace(held, duration=pts - held.pts)
            image = turned(convert.to_rgb(frame, width, height, deep), turns)
            held = Frame(image, pts, frame.duration or usual)
        if held is None:
            raise MediaError(f"{info.path}: holds no frame that can be decoded")
        yield held


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
