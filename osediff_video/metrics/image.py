"""Score images by published definitions. Images are (H, W, 3) RGB, uint8.

Videos: see `osediff_video.metrics.video`.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.types import ImageArray

Luma = NDArray[np.float64]

Scorers = dict[str, Callable[[ImageArray, ImageArray], float]]
"""By name, what a network says of a result and its reference."""

DEFINITIONS = {
    "psnr_y": "dB, luma of BT.601 in [16, 235] not rounded, no border cut",
    "ssim_y": "Wang et al. 2004 on that luma rounded, 11 x 11 Gaussian of sigma 1.5, valid region, contrast at least 0",
    "gradient": "mean gradient magnitude of the luma / the reference's",
    "gradient_kept": "sum(grad . grad of the reference) / sum |grad of the reference|^2",
    "edges": "mean gradient magnitude where the reference's is among its strongest tenth / the reference's there",
    "lpips": "Zhang et al. 2018, version 0.1, AlexNet",
    "text": "share of the reference's characters that PP-OCR reads in the same places, by edit distance",
}


def luma(image: ImageArray) -> Luma:
    """Return the BT.601 luma, (H, W), 16 to 235."""
    return 16 + image.astype(np.float64) @ (np.array((65.481, 128.553, 24.966)) / 255)


def psnr(a: Luma, b: Luma) -> float:
    """Return the PSNR in dB as pyiqa computes it: 10 log10(1 / (mse + 1e-8)) on values / 255."""
    return float(10 * np.log10(1 / (np.mean((a - b) ** 2) / 255**2 + 1e-8)))


def ssim(a: Luma, b: Luma) -> float:
    """Return the SSIM of Wang et al. 2004 as pyiqa computes it.

    An 11 x 11 Gaussian of sigma 1.5, valid region only, on rounded luma.
    """
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
    """Return the mean gradient magnitude of forward differences."""
    return float(np.hypot(np.diff(a, axis=0)[:, :-1], np.diff(a, axis=1)[:-1]).mean())


def grid(a: Luma) -> float:
    """Return how much the second difference along rows varies with the column modulo 8; near 0 without a grid."""
    curvature = np.abs(np.diff(a, 2, axis=1)).mean(0)
    by_phase = np.array([curvature[phase::8].mean() for phase in range(8)])
    return float(by_phase.std() / by_phase.mean())


def gradients(image: ImageArray) -> NDArray[np.float64]:
    """Return the central differences of the luma, (H, W, 2)."""
    return np.stack([np.gradient(luma(image), axis=axis) for axis in (0, 1)], -1)


def gradient_kept(result: ImageArray, reference: ImageArray) -> float:
    a, b = gradients(result), gradients(reference)
    return float((a * b).sum() / max((b * b).sum(), 1e-12))


def edges_kept(result: ImageArray, reference: ImageArray) -> float | None:
    """Return how much of the reference's edge strength the result has; None where the reference has no edges."""
    a, b = (np.hypot(*np.moveaxis(gradients(image), -1, 0)) for image in (result, reference))
    strong = (b > 0) & (b >= np.quantile(b, 0.9))
    return float(a[strong].mean() / b[strong].mean()) if strong.any() else None


def image_scores(result: ImageArray, reference: ImageArray, scorers: Scorers | None = None) -> dict[str, float]:
    """Return every score defined for images of this size. scorers: further ones, which return NaN where undefined."""
    a, b = luma(result), luma(reference)
    scores = {"psnr_y": psnr(a, b)}
    if min(a.shape) >= 2 and (own := gradient(b)) > 0:
        scores |= {"gradient": gradient(a) / own, "gradient_kept": gradient_kept(result, reference)}
        if (edges := edges_kept(result, reference)) is not None:
            scores["edges"] = edges
    if min(a.shape) >= 11:
        scores["ssim_y"] = ssim(a, b)
    scores |= {name: score(result, reference) for name, score in (scorers or {}).items()}
    return {name: score for name, score in scores.items() if not np.isnan(score)}


def mean_scores(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each score over the images that have it: a black frame may lack some."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
