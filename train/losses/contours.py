"""Measure how crooked contours are, which a shift-tolerant distance forgives and eyes do not.

Out of a codec's blocks a straight frame comes as a staircase. A network that tolerates shifts of a pixel finds each
step in its place. Here the slope of the image along the target's contour tells; how sharp it is across does not.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

NOISE_PX, WINDOW_PX = 1.0, 2.5
"""Blurs of the target before its slopes are read, and of their products: contours keep one direction over so much."""

LEAST_COHERENCE = 0.8
"""From here on, up to 1, a place counts: texture and corners have no one direction."""

LEAST_SLOPE, FULL_SLOPE = 0.05, 0.1
"""Change per pixel in [-1, 1], from which on a place counts, and counts wholly."""


def crookedness(image: Tensor, target: Tensor) -> Tensor:
    """Return the share of the energy of slopes at the target's contours that points along them. Scalar in [0, 1].

    image, target: (B, 3, H, W) in [-1, 1], of which grey counts. The squared sine of the angle between the image's
    slope and the normal of the target's contour, weighted with the square of the slope. A contour that is moved
    sideways or harder than the target's costs nothing. 0 where there are none. Differentiable in `image`.
    """
    with torch.no_grad():
        across, down, weight = normals(target.float().mean(1, keepdim=True))
    x, y = slopes(image.float().mean(1, keepdim=True))
    along = (weight * (down * x - across * y).square()).sum()
    whole = (weight * (x.square() + y.square())).sum()
    return along / whole.clamp_min(1e-6)


def normals(grey: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return unit normals of contours, x and y, and how much each place counts as one, each (B, 1, H, W)."""
    x, y = slopes(blurred(grey, NOISE_PX))
    xx, yy, xy = (blurred(product, WINDOW_PX) for product in (x * x, y * y, x * y))
    coherence = torch.hypot(xx - yy, 2 * xy) / (xx + yy).clamp_min(1e-9)
    clear = ((coherence - LEAST_COHERENCE) / (1 - LEAST_COHERENCE)).clamp(0, 1)
    strong = ((torch.hypot(x, y) - LEAST_SLOPE) / (FULL_SLOPE - LEAST_SLOPE)).clamp(0, 1)
    angle = torch.atan2(2 * xy, xx - yy) / 2
    return angle.cos(), angle.sin(), clear * strong


def slopes(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change per pixel to the right and downwards, each like `grey`, (B, 1, H, W)."""
    framed = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = (framed[..., 1:-1, 2:] - framed[..., 1:-1, :-2]) / 2
    return right, (framed[..., 2:, 1:-1] - framed[..., :-2, 1:-1]) / 2


def blurred(grey: Tensor, sigma_px: float) -> Tensor:
    """Return a Gaussian blur of (B, 1, H, W), the border repeated."""
    reach = round(3 * sigma_px)
    kernel = torch.exp(-torch.arange(-reach, reach + 1, device=grey.device).float().square() / (2 * sigma_px**2))
    kernel = kernel / kernel.sum()
    framed = F.pad(grey, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(framed, kernel[None, None, None]), kernel[None, None, :, None])
