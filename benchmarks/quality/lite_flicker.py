"""How much a method flickers on a still image that a camera pans over, at the sharpness of bicubic.

The image moves by whole pixels of the result, so that frames can be laid on each other exactly; the small image
moves by fractions. One light degradation holds for all frames, its noise is fresh in each. Then the result is softened
until its mean gradient is that of bicubic: noise and detail are amplified alike, and a blur would win otherwise.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from benchmarks.quality.methods import SCALE, Method, bicubic
from image_core.images import ImageArray
from osediff_video.metrics.image import Luma, gradient, luma
from train.data.degrade import LIGHT, draw_camera, photograph

FRAMES, PAN_PX, BORDER_PX, SIGMAS = 6, (1, 3), 32, 12


def panned(still: ImageArray, seed: int) -> list[ImageArray]:
    """Small frames of a pan over `still` by PAN_PX rows and columns a frame."""
    rng = np.random.default_rng((2026, seed))
    room = [step * (FRAMES - 1) for step in PAN_PX]
    height, width = ((side - moved) // SCALE * SCALE for side, moved in zip(still.shape[:2], room, strict=True))
    camera = draw_camera(LIGHT, height, width, rng)
    frames = []
    for number in range(FRAMES):
        top, left = (step * number for step in PAN_PX)
        view = still[top : top + height, left : left + width].astype(np.float32) / np.float32(255)
        frames.append(photograph(view, camera, rng))
    return frames


def aligned(results: Sequence[ImageArray]) -> list[Luma]:
    """What all frames show, each moved back by its pan."""
    down, right = ((FRAMES - 1) * step + BORDER_PX for step in PAN_PX)
    height, width = results[0].shape[0] - down - BORDER_PX, results[0].shape[1] - right - BORDER_PX
    lumas = []
    for number, result in enumerate(results):
        top, left = down - PAN_PX[0] * number, right - PAN_PX[1] * number
        lumas.append(luma(result)[top : top + height, left : left + width])
    return lumas


def deviation(lumas: Sequence[Luma]) -> float:
    """Mean over pixels of the standard deviation over time, in levels of 255."""
    return float(np.std(np.stack(lumas), axis=0).mean())


def softened_to(lumas: Sequence[Luma], expected: float) -> list[Luma]:
    """Blurred by the Gaussian that brings the mean gradient down to `wanted`; as they are where it is lower."""

    def sharpness(frames: Sequence[Luma]) -> float:
        return float(np.mean([gradient(a) for a in frames]))

    soft = list(lumas)
    if sharpness(soft) <= expected:
        return soft
    low, high = 0.0, 4.0
    for _ in range(SIGMAS):
        sigma = (low + high) / 2
        soft = [cv2.GaussianBlur(a, (0, 0), sigma) for a in lumas]
        low, high = (sigma, high) if sharpness(soft) > expected else (low, sigma)
    return soft


def flicker(method: Method, stills: Sequence[ImageArray]) -> tuple[float, float]:
    """Means over `stills`: as the method leaves it, and at the sharpness of bicubic. Levels of 255."""
    rows = []
    for seed, still in enumerate(stills):
        frames = panned(still, seed)
        results = aligned([method(frame) for frame in frames])
        expected = float(np.mean([gradient(a) for a in aligned([bicubic(frame) for frame in frames])]))
        rows.append((deviation(results), deviation(softened_to(results, expected))))
    plain, equal = np.mean(rows, axis=0)
    return float(plain), float(equal)
