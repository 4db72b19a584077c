"""Upscale frames that a program computes: arrays in, arrays out, one at a time: python examples/frames.py"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from osediff_video import upscale_frames


def moving_square(count: int) -> Iterator[NDArray[np.uint8]]:
    """Yield frames of a white square that moves to the right, uint8 RGB, (48, 64, 3)."""
    for number in range(count):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[16:32, 2 * number : 2 * number + 16] = 255
        yield frame


def main() -> None:
    for number, frame in enumerate(upscale_frames(moving_square(5), model="lite")):
        print(number, frame.shape, frame.dtype)


if __name__ == "__main__":
    main()
