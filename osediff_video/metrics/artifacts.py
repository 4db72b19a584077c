"""Measure what a network draws and eyes notice: coloured rims, hatching, and errors that change from frame to frame."""

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.metrics.image import Luma, luma
from osediff_video.types import ImageArray

RIM_NEIGHBOURHOOD_PX, RIM_LEVELS = 17, 12
WINDOW_PX, WINDOW_STEP_PX = 32, 16
LATTICE_BINS = WINDOW_PX // 8
"""Multiples of this bin are periods of 8, 4, 8 / 3 and 2 px: of the blocks and strides that networks have."""

FLAT_SHARE = 0.34
"""Of the windows, those where the reference has the least contrast: elsewhere fine texture may be right."""


def chroma_rims(result: ImageArray, enlarged: ImageArray) -> float:
    """Return the share of pixels whose Cb or Cr lies 12 levels outside all that bicubic has in the 17 px around.

    enlarged: the bicubic enlargement of the same input: a sharper result may have no colour that it has nowhere near.
    Both (H, W, 3) uint8. Raises ValueError when the shapes differ.
    """
    if result.shape != enlarged.shape:
        raise ValueError(f"result and enlarged must match, got {result.shape} and {enlarged.shape}")
    window = np.ones((RIM_NEIGHBOURHOOD_PX, RIM_NEIGHBOURHOOD_PX), np.uint8)
    own, around = chroma(result), chroma(enlarged)
    above = own > cv2.dilate(around, window) + RIM_LEVELS
    below = own < cv2.erode(around, window) - RIM_LEVELS
    return float((above | below).any(-1).mean())


def chroma(image: ImageArray) -> NDArray[np.float32]:
    """Return Cb and Cr of BT.601 in full range, (H, W, 2), around 0, not rounded."""
    weights = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)
    return image.astype(np.float32) @ weights.T


def hatch(result: ImageArray, reference: ImageArray) -> float:
    """Return the amplitude, in levels of 255, of a fine regular pattern where the reference is flat. 0 without one.

    In windows of 32 px: what the power at periods of 8, 4, 8 / 3 and 2 px has above the power of its neighbours, less
    what the reference itself has there. Noise has as much in the neighbours, so it does not count.
    Both (H, W, 3) uint8, sides of 32 at least. Raises ValueError otherwise.
    """
    if result.shape != reference.shape or min(result.shape[:2]) < WINDOW_PX:
        raise ValueError(f"expected two images of one size, 32 px at least, got {result.shape} and {reference.shape}")
    truth, image = windows(luma(reference)), windows(luma(result))
    contrast = np.abs(np.diff(truth, axis=1)).mean((1, 2)) + np.abs(np.diff(truth, axis=2)).mean((1, 2))
    flat = np.argsort(contrast, kind="stable")[: max(1, round(FLAT_SHARE * len(contrast)))]
    excess = lattice_power(image[flat]) - lattice_power(truth[flat])
    return float(np.sqrt(max(excess, 0.0)))


def windows(image: Luma) -> Luma:
    """Return the windows of 32 x 32 px, half over each other, (N, 32, 32)."""
    views = np.lib.stride_tricks.sliding_window_view(image, (WINDOW_PX, WINDOW_PX))
    return views[::WINDOW_STEP_PX, ::WINDOW_STEP_PX].reshape(-1, WINDOW_PX, WINDOW_PX)


def lattice_power(parts: Luma) -> float:
    """Return the variance in levels that windows (N, 32, 32) have at the lattice's frequencies above their neighbours.

    A Hann window spreads a pure tone over the bins beside its own, so its neighbours are two bins away.
    """
    taper = np.hanning(WINDOW_PX + 1)[:-1]
    window = np.outer(taper, taper)
    centred = parts - parts.mean((1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(0) / (WINDOW_PX**2 * (window**2).sum())
    lattice = np.arange(0, WINDOW_PX, LATTICE_BINS)
    excess = 0.0
    for row, column in itertools.product(lattice, lattice):
        if (row, column) != (0, 0):
            excess += max(float(power[row, column] - neighbours(power, int(row), int(column))), 0.0)
    return excess * float((window**2).sum() * WINDOW_PX**2 / window.sum() ** 2)


def neighbours(power: Luma, row: int, column: int) -> float:
    """Return the largest power two bins away, along rows and columns: what a line or an edge would have there too."""
    places = itertools.product((-2, 0, 2), (-2, 0, 2))
    return max(float(power[(row + y) % WINDOW_PX, (column + x) % WINDOW_PX]) for y, x in places if (y, x) != (0, 0))


def error_flicker(results: Sequence[ImageArray], references: Sequence[ImageArray]) -> float:
    """Return how much the error of the luma changes from frame to frame, mean absolute, in levels of 255.

    An error that stays is a blur or a tone; one that changes is seen as flicker. Raises ValueError for fewer than two
    frames, or when the numbers differ.
    """
    if len(results) != len(references) or len(results) < 2:
        raise ValueError(f"expected two frames at least and as many references, got {len(results)}, {len(references)}")
    errors = [luma(result) - luma(reference) for result, reference in zip(results, references, strict=True)]
    return float(np.mean([np.abs(after - before).mean() for before, after in itertools.pairwise(errors)]))
