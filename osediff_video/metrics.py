"""How good and how steady pictures are, by published definitions. Pictures are (H, W, 3) RGB, uint8."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.flow import Flow, dis, warp
from osediff_video.types import Picture

Luma = NDArray[np.float64]

DEFINITIONS = {
    "psnr_y": "dB, luma of BT.601 in [16, 235] not rounded, no border cut",
    "ssim_y": "Wang et al. 2004 on that luma rounded, 11 x 11 Gaussian of sigma 1.5, valid region, contrast at least 0",
    "gradient": "mean gradient magnitude of the luma / the reference's",
    "gradient_kept": "sum(grad . grad of the reference) / sum |grad of the reference|^2",
    "e_warp": "x 1e-4, Lai et al. 2018: squared difference along the reference's motion where nothing is occluded",
    "e_star_warp": "x 1e-3, the same along the result's own motion at half size; rewards blur",
    "tof": "px, TecoGAN: mean distance between Farneback flows of result and reference",
    "flicker": "levels of 255: mean change from frame to frame where the reference stands still",
}


def luma(image: Picture) -> Luma:
    """BT.601 luma, (H, W), 16 to 235."""
    return 16 + image.astype(np.float64) @ (np.array((65.481, 128.553, 24.966)) / 255)


def psnr(a: Luma, b: Luma) -> float:
    """As pyiqa computes it: 10 log10(1 / (mse + 1e-8)) on values / 255."""
    return float(10 * np.log10(1 / (np.mean((a - b) ** 2) / 255**2 + 1e-8)))


def ssim(a: Luma, b: Luma) -> float:
    """Wang et al. 2004, as pyiqa computes it: 11 x 11 Gaussian of sigma 1.5, valid region, on rounded luma."""
    a, b = np.rint(a), np.rint(b)
    window = cv2.getGaussianKernel(11, 1.5)

    def mean(x: Luma) -> Luma:
        return cv2.sepFilter2D(x, cv2.CV_64F, window, window)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    brightness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return float((brightness * np.maximum(contrast, 0)).mean())  # pyiqa lets no pixel count against the rest


def gradient(a: Luma) -> float:
    """Mean gradient magnitude of forward differences."""
    return float(np.hypot(np.diff(a, axis=0)[:, :-1], np.diff(a, axis=1)[:-1]).mean())


def gradients(image: Picture) -> NDArray[np.float64]:
    """Central differences of the luma, (H, W, 2)."""
    return np.stack([np.gradient(luma(image), axis=axis) for axis in (0, 1)], -1)


def gradient_kept(result: Picture, reference: Picture) -> float:
    a, b = gradients(result), gradients(reference)
    return float((a * b).sum() / max((b * b).sum(), 1e-12))


def still_or_seen(backward: Flow, forward: Flow) -> NDArray[np.bool_]:
    """Lai et al. 2018: where a pixel is in both frames and not at the border of a motion."""
    returned = warp(forward, backward)
    lengths = (backward**2).sum(-1) + (returned**2).sum(-1)
    seen = ((backward + returned) ** 2).sum(-1) <= 0.01 * lengths + 0.5
    slopes = [np.gradient(backward[..., channel], axis=axis) ** 2 for channel in (0, 1) for axis in (0, 1)]
    return seen & (sum(slopes) <= 0.01 * (backward**2).sum(-1) + 0.002)


def dense_flow(source: Picture, target: Picture) -> Flow:
    """From every pixel of `source` to where it is in `target`: DIS, medium."""
    a, b = (cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (source, target))
    return dis(a, b, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def warping_error(before: Picture, now: Picture, flow_before: Picture, flow_now: Picture) -> tuple[float, float]:
    """Sum of squared differences along the motion of the flow_ pictures, in [0, 1] per channel mean, and its weight."""
    backward, forward = dense_flow(flow_now, flow_before), dense_flow(flow_before, flow_now)
    seen = still_or_seen(backward, forward)
    first, second = (image.astype(np.float32) / np.float32(255) for image in (before, now))
    error = ((warp(first, backward) - second) ** 2).mean(-1)
    return float(error[seen].sum()), float(seen.sum())


def farneback(before: Picture, now: Picture) -> Flow:
    """With the parameters of TecoGAN's tOF."""
    a, b = (cv2.cvtColor(image.astype(np.uint8), cv2.COLOR_RGB2GRAY) for image in (before, now))
    start = np.zeros((*a.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 3, 15, 3, 5, 1.2, 0)


def half(image: Picture) -> Picture:
    height, width = (max(1, side // 2) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def picture_scores(result: Picture, reference: Picture) -> dict[str, float]:
    a, b = luma(result), luma(reference)
    scores = {"psnr_y": psnr(a, b), "gradient": gradient(a) / max(gradient(b), 1e-9)}
    scores["gradient_kept"] = gradient_kept(result, reference)
    if min(a.shape) >= 11:
        scores["ssim_y"] = ssim(a, b)
    return scores


class FilmScores:
    """Fed frame by frame; holds the last frame only. A comparison across a cut says nothing: `cut` leaves it out."""

    def __init__(self) -> None:
        self.pictures: list[dict[str, float]] = []
        self.warping = {"e_warp": [0.0, 0.0], "e_star_warp": [0.0, 0.0], "flicker": [0.0, 0.0]}
        self.tof: list[float] = []
        self.last: tuple[Picture, Picture] | None = None

    def add(self, result: Picture, reference: Picture, cut: bool = False) -> None:
        self.pictures.append(picture_scores(result, reference))
        if self.last is not None and not cut:
            before, reference_before = self.last
            self.count("e_warp", *warping_error(before, result, reference_before, reference))
            small_before, small = half(before), half(result)
            self.count("e_star_warp", *warping_error(small_before, small, small_before, small))
            still = np.abs(reference.astype(int) - reference_before).max(-1) <= 2
            change = np.abs(result.astype(int) - before).mean(-1)
            self.count("flicker", float(change[still].sum()), float(still.sum()))
            difference = farneback(before, result) - farneback(reference_before, reference)
            self.tof.append(float(np.hypot(difference[..., 0], difference[..., 1]).mean()))
        self.last = (result, reference)

    def count(self, name: str, value: float, weight: float) -> None:
        self.warping[name][0] += value
        self.warping[name][1] += weight

    def means(self) -> dict[str, float]:
        """Every score that could be computed."""
        found = mean_scores(self.pictures) if self.pictures else {}
        units = {"e_warp": 1e4, "e_star_warp": 1e3, "flicker": 1.0}
        for name, (value, weight) in self.warping.items():
            if weight:
                found[name] = value / weight * units[name]
        if self.tof:
            found["tof"] = float(np.mean(self.tof))
        return found


def mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over pictures, of the scores that all have."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}
