"""Degrade a good clip as a bad camera and a real video encoder do.

Kernels, sizes and strengths are drawn once and hold for the whole clip; noise is fresh in every frame; then the clip
goes through H.264, MPEG-4 or HEVC at a random quality, in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.random import Generator
from numpy.typing import NDArray

from osediff_video.media.color import BT709, ColorConverter, ColorTags
from train.data.degrade import Degradation, draw_camera, photograph
from train.data.kernels import Range

Clip = NDArray[np.uint8]
"""(T, H, W, 3) RGB."""

LEAST_SIDE_PX = 64  # of an encoded image: HEVC takes no block of less
TAGS = ColorTags(matrix=BT709, primaries=1, transfer=1, full_range=False)
DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg4": "mpeg4"}


@dataclass(frozen=True)
class Coding:
    """Define how likely a video encoder is, and how good.

    chance: of a pass through an encoder at all. Each encoder with its range of quality, the first being the best.

    The constant rate factor of x264 and x265, the quantiser of MPEG-4: from hardly visible to what makes one leave.
    """

    chance: float = 1.0
    quality: dict[str, Range] = field(
        default_factory=lambda: {"libx264": (18, 35), "libx265": (20, 37), "mpeg4": (2, 12)}
    )


def degrade_clip(clip: Clip, settings: Degradation, coding: Coding, rng: Generator) -> Clip:
    """Return the low-quality clip, (T, H / scale, W / scale, 3). Raises ValueError when a side does not divide."""
    camera = draw_camera(settings, clip.shape[1], clip.shape[2], rng)
    small = np.stack([photograph(frame.astype(np.float32) / np.float32(255), camera, rng) for frame in clip])
    if rng.random() >= coding.chance:
        return small
    codec = list(coding.quality)[rng.integers(len(coding.quality))]
    return transcode(small, codec, round(rng.uniform(*coding.quality[codec])))


def transcode(clip: Clip, codec: str, quality: int) -> Clip:
    """Encode and decode, in memory. Same shape out; the same bits on every run of one FFmpeg.

    codec: libx264, libx265 or mpeg4. quality: CRF, or the quantiser of MPEG-4. Raises ValueError for another codec.
    """
    if codec not in DECODERS:
        raise ValueError(f"codec must be one of {', '.join(DECODERS)}, got {codec!r}")
    count, height, width = clip.shape[:3]
    # even sides for 4:2:0, and what the encoder needs at least; cropped again below
    padding = [max(LEAST_SIDE_PX, side + side % 2) - side for side in (height, width)]
    padded = np.pad(clip, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)), mode="edge")
    convert = ColorConverter(TAGS)
    decoded = [
        convert.to_rgb(frame, frame.width, frame.height, deep=False)[0][:height, :width]
        for frame in decode_clip(DECODERS[codec], encode(padded, codec, quality))
    ]
    assert len(decoded) == count
    return np.stack(decoded).astype(np.uint8, copy=False)


def encode(clip: Clip, codec: str, quality: int) -> list[Packet]:
    """Return the packets of one encoder, parameters in band. One thread: bits must not depend on the machine."""
    encoder = VideoCodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = clip.shape[1], clip.shape[2], "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    if codec == "mpeg4":
        encoder.options = {"qmin": str(quality), "qmax": str(quality)}
    else:
        encoder.options = {"crf": str(quality), "preset": "veryfast"}
        if codec == "libx265":
            encoder.options |= {"x265-params": "log-level=none:pools=none:frame-threads=1"}
    convert, packets = ColorConverter(TAGS), []
    for number, image in enumerate(clip):
        frame = convert.from_rgb(image, "yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def decode_clip(codec: str, packets: Sequence[Packet]) -> Iterator[VideoFrame]:
    """Return the frames in order of presentation.

    The encoder's own packets, not their bytes: decoders read a little past the end, where only FFmpeg's have zeros.
    """
    decoder = VideoCodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    for packet in packets:
        yield from decoder.decode(packet)
    yield from decoder.decode(None)
