"""Motion between two frames, how far it can be trusted, and pictures moved along it."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.types import Picture

Flow = NDArray[np.float32]
"""(H, W, 2): for every pixel, by how many pixels right and down it is found in the other frame."""

ENLARGED = 2
SMOOTHING_PX = 1.5
LEAST_SIDE_PX = 16  # of the enlarged picture: what the coarsest patch of the estimator needs
AGREEMENT_PX = 0.5
NOISE_TO_TAU = 2.75
SMALLEST_TAU, LARGEST_TAU = 3 / 255, 16 / 255


@dataclass(frozen=True)
class Motion:
    """From a frame back to the one before, in input pixels. flow: (H, W, 2). confidence: (H, W) in [0, 1]."""

    flow: Flow
    confidence: NDArray[np.float32]


def motion(previous: Picture, current: Picture) -> Motion:
    """Where each pixel of `current` was in `previous`; both (H, W, 3) of one dtype.

    Confidence falls with the disagreement of forward and backward flow, exp(-e^2 / (2 0.5^2)), and with the largest
    colour difference d after a slight blur, exp(-(d / tau)^2 / 2); tau follows the noise, read off the median of d. It
    is zero where the other frame does not reach.
    """
    before, now = prepared(previous), prepared(current)
    backward, forward = dis(now, before), dis(before, now)
    height, width = current.shape[:2]
    if ENLARGED * min(height, width) >= LEAST_SIDE_PX:
        backward, forward = (
            cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) / ENLARGED for f in (backward, forward)
        )
    x, y = grid(height, width)
    agreement = backward + warp(forward, backward)
    error = (agreement**2).sum(-1)
    difference = np.abs(blurred(current) - warp(blurred(previous), backward)).max(-1)
    tau = float(np.clip(NOISE_TO_TAU * np.median(difference), SMALLEST_TAU, LARGEST_TAU))
    inside_x = (x + backward[..., 0] >= 0) & (x + backward[..., 0] <= width - 1)
    inside_y = (y + backward[..., 1] >= 0) & (y + backward[..., 1] <= height - 1)
    confidence = np.exp(-error / (2 * AGREEMENT_PX**2) - (difference / tau) ** 2 / 2) * (inside_x & inside_y)
    return Motion(backward, confidence.astype(np.float32))


def prepared(image: Picture) -> NDArray[np.uint8]:
    """Luma as the estimator likes it: enlarged and smoothed, or moving by less than a pixel goes unseen."""
    eight_bit = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    luma = cv2.cvtColor(eight_bit, cv2.COLOR_RGB2GRAY)
    if ENLARGED * min(luma.shape) < LEAST_SIDE_PX:
        return luma
    luma = cv2.resize(luma, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(luma, (0, 0), SMOOTHING_PX)


def dis(source: NDArray[np.uint8], target: NDArray[np.uint8], preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST) -> Flow:
    """Dense inverse search (Kroeger et al. 2016); zero for pictures smaller than its window.

    The fast preset on the enlarged picture steadied as well as the medium one at half the time (benchmarks/results).
    """
    if min(source.shape) < LEAST_SIDE_PX:
        return np.zeros((*source.shape, 2), np.float32)
    estimator = cv2.DISOpticalFlow.create(preset)
    return estimator.calc(source, target, None)


def blurred(image: Picture) -> NDArray[np.float32]:
    """In [0, 1], sigma 1."""
    return cv2.GaussianBlur(image.astype(np.float32) / np.iinfo(image.dtype).max, (0, 0), 1)


@functools.lru_cache(maxsize=4)
def grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))


def warp(image: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """What `image` (H, W) or (H, W, C) shows at each pixel moved by `flow`; bicubic, the border repeated outside."""
    x, y = grid(*flow.shape[:2])
    return cv2.remap(image, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def enlarged(found: Motion, height: int, width: int) -> Motion:
    """The same motion on a grid of `height` x `width`, in its pixels."""
    rows, columns = found.flow.shape[:2]
    flow = cv2.resize(found.flow, (width, height), interpolation=cv2.INTER_LINEAR)
    flow *= np.array((width / columns, height / rows), np.float32)
    return Motion(flow, cv2.resize(found.confidence, (width, height), interpolation=cv2.INTER_LINEAR))
