"""Read animated WebP and AVIF as a source: FFmpeg decodes only the first image of either."""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from image_core.errors import MediaError
from osediff_video.sources.folder import SRGB
from osediff_video.types import MILLISECOND, Bookmark, Faults, Frame, VideoInfo

UNREADABLE = (OSError, ValueError, EOFError, UnidentifiedImageError, Image.DecompressionBombError)
SHORTEST_MS = 100
"""What browsers show a frame for whose duration is next to nothing."""


def is_animation(path: Path) -> bool:
    """Return whether the file is a WebP with an animation chunk, or an AVIF sequence."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(64)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP" and b"VP8X" in head and bool(head[20] & 2)
    return webp or head[4:12] == b"ftypavis"


class AnimationSource:
    """Read the frames of an animated image, composed, in milliseconds.

    start_s, end_s: the part that is read, in seconds; None is the beginning and the end.
    """

    last_sign = math.inf
    jumps = ()

    def __init__(self, path: Path, start_s: Fraction | None = None, end_s: Fraction | None = None) -> None:
        """Read size and durations. Raises MediaError when the file cannot be read."""
        self.path, self.faults = path, Faults()
        self.start_s, self.end_s = start_s or Fraction(0), end_s
        try:
            with Image.open(path) as image:
                durations = [self.duration(frame) for frame in ImageSequence.Iterator(image)]
                size, alpha, kind = image.size, image.has_transparency_data, image.format
        except UNREADABLE as error:
            raise MediaError(f"{path}: not a readable animation ({error})") from error
        total_s = sum(durations) / 1000
        self.info = VideoInfo(
            path=path,
            width=size[0],
            height=size[1],
            time_base=MILLISECOND,
            frame_rate=Fraction(len(durations) * 1000, sum(durations)),
            frame_count_estimate=len(durations),
            duration_s=total_s,
            bit_depth=8,
            color=SRGB,
            codec=str(kind).lower(),
            container=str(kind).lower(),
            alpha=alpha,
        )

    @staticmethod
    def duration(frame: Image.Image) -> int:
        frame.load()  # a WebP says how long a frame is shown only then
        shown = int(frame.info.get("duration", SHORTEST_MS))
        return shown if shown > 10 else SHORTEST_MS

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:  # noqa: ARG002 - no need here
        """Yield every frame after the first `skip`; a file that ends early is noted in `faults`."""
        pts = number = 0
        self.faults = Faults()
        try:
            with Image.open(self.path) as image:
                for frame in ImageSequence.Iterator(image):
                    pixels = np.asarray(frame.convert("RGBA"))  # each is composed over those before it
                    duration, begun = self.duration(frame), pts * MILLISECOND >= self.start_s
                    if self.end_s is not None and pts * MILLISECOND >= self.end_s:
                        break
                    if begun and number >= skip:
                        alpha = np.ascontiguousarray(pixels[..., 3]) if self.info.alpha else None
                        yield Frame(np.ascontiguousarray(pixels[..., :3]), pts, duration, alpha)
                    number += begun
                    pts += duration
            if not number:
                raise MediaError(f"{self.path}: holds no frame from {float(self.start_s):g} s on; it lasts {pts} ms")
        except UNREADABLE as error:
            self.faults.cut_short = f"at {pts / 1000:.2f} s: {error}"
