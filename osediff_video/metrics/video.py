"""Measure how steady videos are, by published definitions. Images are (H, W, 3) RGB, uint8."""

import cv2
import numpy as np

from osediff_video.metrics.image import Scorers, image_scores, mean_scores
from osediff_video.temporal.flow import DIS_LEAST_SIDE_PX, Estimator, Flow, warp
from osediff_video.types import ImageArray

VIDEO_DEFINITIONS = {
    "e_warp": "x 1e-4, Lai et al. 2018: squared difference along the reference's motion where nothing is occluded",
    "e_star_warp": "x 1e-3, E*_warp of EvalCrafter: the same along the result's own motion, at half size; rewards blur",
    "mawe": "E*_warp as of StreamingT2V: the same on 0..255, by the mean motion x 9.5, per pair; rewards blur",
    "tof": "px, TecoGAN: mean distance between Farneback flows of result and reference",
    "tlp": "TecoGAN: 100 x |LPIPS from frame to frame - the reference's|",
    "flicker": "levels of 255: mean change from frame to frame where the reference stands still",
}

MAWE_MOTION = 9.5
STILL_LEVELS = 2
"""What a colour of the reference may change while it counts as standing still."""


def dense_flow(source: ImageArray, target: ImageArray) -> Flow:
    """Estimate motion with DIS, medium, on the unfiltered images; zero where they are smaller than its window.

    An Estimator.
    """
    a, b = (cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (source, target))
    if min(a.shape) < DIS_LEAST_SIDE_PX:
        return np.zeros((*a.shape, 2), np.float32)
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(a, b, None)


def still_or_seen(backward: Flow, forward: Flow) -> np.ndarray:
    """Return where a pixel is in both frames and not at the border of a motion, (H, W) of bool (Lai et al. 2018)."""
    returned = warp(forward, backward)
    lengths = (backward**2).sum(-1) + (returned**2).sum(-1)
    seen = ((backward + returned) ** 2).sum(-1) <= 0.01 * lengths + 0.5
    slopes = [np.gradient(backward[..., channel], axis=axis) ** 2 for channel in (0, 1) for axis in (0, 1)]
    return seen & (sum(slopes) <= 0.01 * (backward**2).sum(-1) + 0.002)


def warping_error(before: ImageArray, now: ImageArray, backward: Flow, forward: Flow) -> tuple[float, float]:
    """Return the summed squared difference along the motion, in [0, 1], mean of channels; and the number of pixels."""
    seen = still_or_seen(backward, forward)
    first, second = (image.astype(np.float32) / np.float32(255) for image in (before, now))
    error = ((warp(first, backward) - second) ** 2).mean(-1)
    return float(error[seen].sum()), float(seen.sum())


def farneback(before: ImageArray, now: ImageArray) -> Flow:
    """Estimate motion by Farnebäck's method with the parameters of TecoGAN's tOF."""
    a, b = (cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (before, now))
    start = np.zeros((*a.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 3, 15, 3, 5, 1.2, 0)


def half(image: ImageArray) -> ImageArray:
    height, width = (max(1, side // 2) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


class VideoScores:
    """Accumulate scores frame by frame; holds only the last frame. Comparisons across a `cut` are left out.

    estimate: what finds the motion of E_warp and its relatives. scorers: more scores; "lpips" gives tLP too.
    """

    def __init__(self, estimate: Estimator = dense_flow, scorers: Scorers | None = None) -> None:
        self.estimate, self.scorers = estimate, scorers or {}
        self.images: list[dict[str, float]] = []
        self.weighed = {"e_warp": [0.0, 0.0], "e_star_warp": [0.0, 0.0], "flicker": [0.0, 0.0]}
        self.pairs: dict[str, list[float]] = {"tof": [], "mawe": [], "tlp": []}
        self.last: tuple[ImageArray, ImageArray] | None = None

    def add(self, result: ImageArray, reference: ImageArray, cut: bool = False) -> None:
        self.images.append(image_scores(result, reference, self.scorers))
        if self.last is not None and not cut:
            self.add_pair(*self.last, result, reference)
        self.last = (result, reference)

    def add_pair(
        self, before: ImageArray, reference_before: ImageArray, result: ImageArray, reference: ImageArray
    ) -> None:
        estimate = self.estimate
        flows = estimate(reference, reference_before), estimate(reference_before, reference)
        self.count("e_warp", *warping_error(before, result, *flows))
        self.add_own_motion(half(before), half(result))
        still = np.abs(reference.astype(int) - reference_before).max(-1) <= STILL_LEVELS
        change = np.abs(result.astype(int) - before).mean(-1)
        self.count("flicker", float(change[still].sum()), float(still.sum()))
        difference = farneback(before, result) - farneback(reference_before, reference)
        self.pairs["tof"].append(float(np.hypot(difference[..., 0], difference[..., 1]).mean()))
        if lpips := self.scorers.get("lpips"):
            jump = 100 * abs(lpips(before, result) - lpips(reference_before, reference))
            if not np.isnan(jump):  # it is for images too small
                self.pairs["tlp"].append(jump)

    def add_own_motion(self, before: ImageArray, now: ImageArray) -> None:
        backward, forward = self.estimate(now, before), self.estimate(before, now)
        error, weight = warping_error(before, now, backward, forward)
        self.count("e_star_warp", error, weight)
        moved_px = float(np.hypot(backward[..., 0], backward[..., 1]).mean())
        if weight and moved_px > 0:
            self.pairs["mawe"].append(255**2 * error / weight / (MAWE_MOTION * moved_px))

    def count(self, name: str, value: float, weight: float) -> None:
        self.weighed[name][0] += value
        self.weighed[name][1] += weight

    def means(self) -> dict[str, float]:
        """Return every score that could be computed."""
        scores = mean_scores(self.images)
        units = {"e_warp": 1e4, "e_star_warp": 1e3, "flicker": 1.0}
        scores |= {name: units[name] * value / weight for name, (value, weight) in self.weighed.items() if weight}
        return scores | {name: float(np.mean(values)) for name, values in self.pairs.items() if values}
