"""Blur kernels of the Real-ESRGAN degradation. All are square, odd, non-negative (but sinc) and sum to one."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

Kernel = NDArray[np.float32]
Range = tuple[float, float]

# isotropic, anisotropic, generalised isotropic, generalised anisotropic, plateau isotropic, plateau anisotropic
SHAPE_CHANCES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)


@dataclass(frozen=True)
class Blur:
    """sigma in pixels; the betas shape the flanks; chance: of blurring at all; sinc: of a ringing kernel."""

    sigma: Range
    beta_generalised: Range = (0.5, 4)
    beta_plateau: Range = (1, 2)
    chance: float = 1.0
    sinc: float = 0.1
    isotropic_only: bool = False


def blur_kernel(settings: Blur, size: int, rng: Generator) -> Kernel:
    """Draw a kernel of `size` x `size` from the mixture. Returns float32."""
    if rng.random() < settings.sinc:
        return sinc_kernel(size, rng.uniform(math.pi / (3 if size < 13 else 5), math.pi))
    shape = 0 if settings.isotropic_only else int(rng.choice(6, p=SHAPE_CHANCES))
    sigma_x = rng.uniform(*settings.sigma)
    isotropic = shape % 2 == 0
    sigma_y, angle = (sigma_x, 0.0) if isotropic else (rng.uniform(*settings.sigma), rng.uniform(-math.pi, math.pi))
    distance = mahalanobis(size, sigma_x, sigma_y, angle)
    if shape < 2:
        kernel = np.exp(-0.5 * distance)
    elif shape < 4:
        kernel = np.exp(-0.5 * distance ** _beta(settings.beta_generalised, rng))
    else:
        kernel = 1 / (distance ** _beta(settings.beta_plateau, rng) + 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _beta(bounds: Range, rng: Generator) -> float:
    """Below and above 1 equally often, as the bounds are not symmetric about it."""
    low, high = bounds
    return rng.uniform(low, 1) if low < 1 and rng.random() < 0.5 else rng.uniform(1, high)


def mahalanobis(size: int, sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float64]:
    """Squared distance of every cell from the centre, in units of the rotated sigmas. (size, size)."""
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """The ideal circular low-pass filter, cut off at `cutoff` radians per pixel: overshoot and ringing."""
    axis = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(axis, axis))
    radius[size // 2, size // 2] = 1  # replaced below; avoids 0 / 0
    kernel = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * radius)).numpy() / (2 * math.pi * radius)
    kernel[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return (kernel / kernel.sum()).astype(np.float32)
