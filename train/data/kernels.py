"""Blur kernels of the Real-ESRGAN degradation. All are square, odd, non-negative (but sinc) and sum to one."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

Kernel = NDArray[np.float32]
Range = tuple[float, float]

KINDS = ("gaussian", "anisotropic", "generalised", "generalised anisotropic", "plateau", "plateau anisotropic")
KIND_CHANCES = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
SIZES = tuple(range(7, 22, 2))


@dataclass(frozen=True)
class Blur:
    """Define blurring at random.

    sigma: in pixels. The betas shape the flanks. chance, sinc: probabilities of any blur, and of a ringing kernel.

    All ranges are uniform, as in the paper. (Its code draws the betas below and above 1 equally often.)
    """

    sigma: Range
    beta_generalised: Range = (0.5, 4)
    beta_plateau: Range = (1, 2)
    chance: float = 1.0
    sinc: float = 0.1
    isotropic_only: bool = False


@dataclass(frozen=True)
class Lens:
    """Hold one blur kernel as drawn.

    One kernel in words. sigma: along its axes, in pixels; angle: of the first axis; beta: of the flanks.
    """

    size: int
    kind: str
    sigma: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    beta: float = 1.0
    cutoff: float = 0.0


def draw_lens(settings: Blur, rng: Generator) -> Lens | None:
    """Draw a kernel from the mixture, or none where the image stays sharp."""
    if rng.random() >= settings.chance:
        return None
    size = int(rng.choice(SIZES))
    if rng.random() < settings.sinc:
        return Lens(size, "sinc", cutoff=rng.uniform(math.pi / (3 if size < 13 else 5), math.pi))
    kind = KINDS[0 if settings.isotropic_only else rng.choice(len(KINDS), p=KIND_CHANCES)]
    along = across = rng.uniform(*settings.sigma)
    angle = 0.0
    if "anisotropic" in kind:
        across, angle = rng.uniform(*settings.sigma), rng.uniform(-math.pi, math.pi)
    beta = 1.0
    if "generalised" in kind:
        beta = rng.uniform(*settings.beta_generalised)
    elif "plateau" in kind:
        beta = rng.uniform(*settings.beta_plateau)
    return Lens(size, kind, (along, across), angle, beta)


def draw_ringing(rng: Generator) -> Lens:
    """Draw the filter around the last JPEG: sinc with a cutoff of U(pi / 3, pi), whatever its size."""
    return Lens(int(rng.choice(SIZES)), "sinc", cutoff=rng.uniform(math.pi / 3, math.pi))


def kernel(lens: Lens) -> Kernel:
    """Compute a kernel (size, size) float32 of sum 1. Real-ESRGAN, https://arxiv.org/abs/2107.10833, section 3.1."""
    if lens.kind == "sinc":
        return sinc_kernel(lens.size, lens.cutoff)
    distance = mahalanobis(lens.size, *lens.sigma, lens.angle)
    flank = distance**lens.beta
    weight = 1 / (flank + 1) if "plateau" in lens.kind else np.exp(-0.5 * flank)
    return (weight / weight.sum()).astype(np.float32)


def mahalanobis(size: int, sigma_x: float, sigma_y: float, angle: float) -> NDArray[np.float64]:
    """Return the squared distance of every cell from the centre, in units of the rotated sigmas, (size, size)."""
    axis = np.arange(size) - size // 2
    x, y = np.meshgrid(axis, axis)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def sinc_kernel(size: int, cutoff: float) -> Kernel:
    """Compute the ideal circular low-pass filter, cut off at `cutoff` radians per pixel: overshoot and ringing."""
    axis = np.arange(size) - size // 2
    radius = np.hypot(*np.meshgrid(axis, axis))
    radius[size // 2, size // 2] = 1  # replaced below; avoids 0 / 0
    weight = cutoff * torch.special.bessel_j1(torch.from_numpy(cutoff * radius)).numpy() / (2 * math.pi * radius)
    weight[size // 2, size // 2] = cutoff**2 / (4 * math.pi)
    return (weight / weight.sum()).astype(np.float32)
