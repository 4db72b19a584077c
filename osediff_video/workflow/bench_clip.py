"""Make the clip that is measured where none is named."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from image_core.images import ImageArray

FRAMES, HEIGHT, WIDTH, SCALE = 72, 180, 320, 4


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> ImageArray:
    """Return a frame of a clip that moves: waves and grain, (height, width, 3)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = np.stack([np.sin((columns + 3 * number) / (5 + 2 * c)) * np.cos(rows / (7 + c)) for c in range(3)], -1)
    grain = np.random.default_rng(number).normal(0, 4, waves.shape)
    return np.clip(128 + 90 * waves + grain, 0, 255).astype(np.uint8)


def write_clip(target: Path, frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write the clip of `picture`, encoded as videos are."""
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=Fraction(24))
        stream.options = {"crf": "20"}
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for number in range(frames):
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number, height, width), "rgb24")))
        writer.mux(stream.encode())
    return target
