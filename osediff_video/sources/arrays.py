"""Read frames that a program already holds, as a source."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from image_core.errors import MediaError
from image_core.images import ImageArray
from osediff_video.media.reading.stdin import PIPE
from osediff_video.sources.folder import SRGB
from osediff_video.types import Bookmark, Faults, Frame, VideoInfo


class ArraySource:
    """Read arrays (H, W, 3) of uint8 or uint16 RGB, all of one size and type, one tick of the time base each.

    They come once, as from a pipe, so that an endless generator can be upscaled in bounded memory.
    """

    last_sign = math.inf
    jumps = ()

    def __init__(self, arrays: Iterable[ImageArray], fps: Fraction = Fraction(25)) -> None:
        """Take the first array to learn size and depth. Raises MediaError when there is none, or it is no image."""
        self.arrays, self.faults = iter(arrays), Faults()
        first = next(self.arrays, None)
        if first is None:
            raise MediaError("there is no frame to upscale; expected at least one array (H, W, 3)")
        self.first = checked(first, 0, None)
        height, width = self.first.shape[:2]
        self.info = VideoInfo(
            path=PIPE,
            width=width,
            height=height,
            time_base=1 / fps,
            frame_rate=fps,
            frame_count_estimate=None,
            duration_s=None,
            bit_depth=16 if self.first.dtype == np.uint16 else 8,
            color=SRGB,
            container="arrays",
        )

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:  # noqa: ARG002 - no need here
        """Yield every frame after the first `skip`. Raises MediaError for an array of another size or type."""
        if skip == 0:
            yield Frame(self.first, 0, 1)
        for number, array in enumerate(self.arrays, 1):
            if number >= skip:
                yield Frame(checked(array, number, self.first), number, 1)


def checked(array: object, number: int, like: ImageArray | None) -> ImageArray:
    """Return `array` if it is an image like the others. Raises MediaError naming the frame."""
    if not isinstance(array, np.ndarray):
        raise MediaError(f"frame {number}: is a {type(array).__name__}; expected a numpy array (H, W, 3)")
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype not in (np.uint8, np.uint16) or not array.size:
        raise MediaError(
            f"frame {number}: has shape {array.shape} and type {array.dtype}; expected (H, W, 3) of uint8 or uint16"
        )
    if like is not None and (array.shape != like.shape or array.dtype != like.dtype):
        raise MediaError(
            f"frame {number}: is {array.shape[1]} x {array.shape[0]} of {array.dtype}, but the first is "
            f"{like.shape[1]} x {like.shape[0]} of {like.dtype}; expected one size and type"
        )
    return np.ascontiguousarray(array)
