"""Pass images through a real video encoder and back, in memory: as televisions, discs, phones and web sites do.

Each encoder is asked for with its own word for quality and the options that people use. One thread everywhere: what
comes out must not depend on the machine.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.random import Generator
from numpy.typing import NDArray

from osediff_video.media.color import BT709, ColorConverter, ColorTags
from osediff_video.media.writing.encoder import repeatable

Clip = NDArray[np.uint8]
"""(T, H, W, 3) RGB."""

LEAST_SIDE_PX = 64  # of an encoded image: HEVC takes no block of less
TAGS = ColorTags(matrix=BT709, primaries=1, transfer=1, full_range=False)
DECODERS = {"libx264": "h264", "libx265": "hevc", "mpeg2video": "mpeg2video", "mpeg4": "mpeg4", "libvpx-vp9": "vp9"}
QUALITY = {"libx264": (16, 34), "libx265": (18, 36), "mpeg2video": (2, 11), "mpeg4": (2, 11), "libvpx-vp9": (18, 50)}
"""From hardly visible to what makes one leave: CRF of x264, x265 and VP9, the quantiser of the two others."""

CHANCES = {"libx264": 0.5, "libx265": 0.14, "mpeg2video": 0.12, "mpeg4": 0.16, "libvpx-vp9": 0.08}
PRESETS = {"libx264": ("ultrafast", "veryfast", "medium"), "libx265": ("ultrafast", "veryfast")}


def draw_encoder(rng: Generator) -> tuple[str, dict[str, str]]:
    """Draw an encoder and its options. A hasty preset leaves what a phone's encoder leaves: x264's does not deblock."""
    codec = list(CHANCES)[rng.choice(len(CHANCES), p=list(CHANCES.values()))]
    quality = round(rng.uniform(*QUALITY[codec]))
    preset = str(rng.choice(PRESETS[codec])) if codec in PRESETS else ""
    return codec, encoder_options(codec, quality, preset)


def encoder_options(codec: str, quality: int, preset: str = "veryfast") -> dict[str, str]:
    """Return FFmpeg's options for a constant quality of `codec`. Raises ValueError for a codec it does not know."""
    if codec not in DECODERS:
        raise ValueError(f"codec must be one of {', '.join(DECODERS)}, got {codec!r}")
    if codec in ("mpeg4", "mpeg2video"):
        return {"qmin": str(quality), "qmax": str(quality)}
    options = {"crf": str(quality)}
    if codec == "libvpx-vp9":
        return options | {"b": "0", "deadline": "realtime", "cpu-used": "8", "row-mt": "0", "lag-in-frames": "0"}
    if codec == "libx265":
        options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
    elif ours := repeatable(codec):
        options["x264-params"] = ours
    return options | {"preset": preset}


def transcode(clip: Clip, codec: str, options: dict[str, str]) -> Clip:
    """Encode and decode in 4:2:0 of 8 bit. Same shape out; the same bits on every run of one FFmpeg."""
    count, height, width = clip.shape[:3]
    # even sides for 4:2:0, and what the encoder needs at least; cropped again below
    padding = [max(LEAST_SIDE_PX, side + side % 2) - side for side in (height, width)]
    padded = np.pad(clip, ((0, 0), (0, padding[0]), (0, padding[1]), (0, 0)), mode="edge")
    convert = ColorConverter(TAGS)
    decoded = [
        convert.to_rgb(frame, frame.width, frame.height, deep=False)[0][:height, :width]
        for frame in decode(DECODERS[codec], encode(padded, codec, options))
    ]
    assert len(decoded) == count
    return np.stack(decoded).astype(np.uint8, copy=False)


def encode(clip: Clip, codec: str, options: dict[str, str]) -> list[Packet]:
    encoder = VideoCodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = clip.shape[1], clip.shape[2], "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    encoder.options = options
    convert, packets = ColorConverter(TAGS), []
    for number, image in enumerate(clip):
        frame = convert.from_rgb(image, "yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def decode(codec: str, packets: Sequence[Packet]) -> list[VideoFrame]:
    """Return the frames in order of presentation, from the encoder's own packets.

    Not from their bytes: decoders read a little past the end, where only FFmpeg's packets have zeros.
    """
    decoder = VideoCodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    frames: list[VideoFrame] = []
    for packet in packets:
        frames += decoder.decode(packet)
    return frames + decoder.decode(None)
