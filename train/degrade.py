"""Make a low-quality picture from a good one: the second-order degradation of Real-ESRGAN, as pure functions.

A picture here is (H, W, 3) RGB float32 in [0, 1]; every random choice comes from the `rng` argument, so the same seed
gives the same bits. Real-ESRGAN, https://arxiv.org/abs/2107.10833; the values are those OSEDiff trains with.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.kernels import Blur, blur_kernel, sinc_kernel

Image = NDArray[np.float32]
Range = tuple[float, float]

RESIZE_MODES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Resize:
    """Chances of growing, shrinking and keeping the size, and the range of the factor."""

    up: float
    down: float
    keep: float
    factor: Range


@dataclass(frozen=True)
class Noise:
    """Gaussian (sigma in 1/255) with the given chance, else Poisson; the same noise in all channels with `grey`."""

    gaussian: float
    sigma: Range
    poisson_scale: Range
    grey: float = 0.4


@dataclass(frozen=True)
class Stage:
    blur: Blur
    resize: Resize
    noise: Noise
    jpeg: Range


@dataclass(frozen=True)
class Degradation:
    """One or two stages, then the final size. sinc: chance of a ringing filter around the last JPEG (two stages)."""

    first: Stage
    second: Stage | None = None
    sinc: float = 0.8
    scale: int = 4


KEEP = Resize(0, 0, 1, (1, 1))
LIGHT = Degradation(
    Stage(Blur(sigma=(0.2, 1.2), isotropic_only=True, sinc=0), KEEP, Noise(1, (0, 3), (0, 0)), (75, 97))
)
MEDIUM = Degradation(
    Stage(Blur(sigma=(0.2, 2.0)), Resize(0.1, 0.4, 0.5, (0.4, 1.2)), Noise(0.5, (1, 12), (0.05, 1)), (50, 95))
)
HEAVY = Degradation(
    Stage(Blur(sigma=(0.2, 3.0)), Resize(0.2, 0.7, 0.1, (0.15, 1.5)), Noise(0.5, (1, 30), (0.05, 3)), (30, 95)),
    Stage(
        Blur(sigma=(0.2, 1.5), chance=0.8),
        Resize(0.3, 0.4, 0.3, (0.3, 1.2)),
        Noise(0.5, (1, 25), (0.05, 2.5)),
        (30, 95),
    ),
)
PRESETS = {"light": LIGHT, "medium": MEDIUM, "heavy": HEAVY}


def degrade(image: Image, settings: Degradation, rng: Generator) -> NDArray[np.uint8]:
    """The low-quality picture, (H / scale, W / scale, 3) uint8. Raises ValueError when a side does not divide."""
    height, width = image.shape[:2]
    if height % settings.scale or width % settings.scale:
        raise ValueError(f"a {width} x {height} picture does not divide by the scale of {settings.scale}")
    small = (width // settings.scale, height // settings.scale)
    first, second = settings.first, settings.second
    result = random_resize(blur(image, first.blur, rng), first.resize, (width, height), rng)
    result = add_noise(result, first.noise, rng)
    if second is None:
        # area: what a camera or a good downscaler does
        result = jpeg(cv2.resize(result, small, interpolation=cv2.INTER_AREA), first.jpeg, rng)
    else:
        result = jpeg(result, first.jpeg, rng)
        result = random_resize(blur(result, second.blur, rng), second.resize, small, rng)
        result = finish(add_noise(result, second.noise, rng), settings, second.jpeg, small, rng)
    return np.rint(np.clip(result, 0, 1) * 255).astype(np.uint8)


def finish(image: Image, settings: Degradation, quality: Range, size: tuple[int, int], rng: Generator) -> Image:
    """The end of the second stage: resize and sinc before the JPEG, or after it, half the time each."""
    kernel = sinc_kernel(_odd(rng, 7, 21), rng.uniform(math.pi / 3, math.pi)) if rng.random() < settings.sinc else None

    def to_size(x: Image) -> Image:
        x = cv2.resize(x, size, interpolation=RESIZE_MODES[rng.integers(3)])
        return x if kernel is None else cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT)

    if rng.random() < 0.5:
        return jpeg(to_size(image), quality, rng)
    return to_size(jpeg(image, quality, rng))


def blur(image: Image, settings: Blur, rng: Generator) -> Image:
    if rng.random() >= settings.chance:
        return image
    return cv2.filter2D(image, -1, blur_kernel(settings, _odd(rng, 7, 21), rng), borderType=cv2.BORDER_REFLECT)


def random_resize(image: Image, settings: Resize, reference: tuple[int, int], rng: Generator) -> Image:
    """Resize to a random factor of `reference` (width, height)."""
    low, high = settings.factor
    choice = rng.choice(3, p=(settings.up, settings.down, settings.keep))
    factor = (rng.uniform(1, high), rng.uniform(low, 1), 1.0)[choice] if choice < 2 else 1.0
    size = (max(1, round(reference[0] * factor)), max(1, round(reference[1] * factor)))
    if size == (image.shape[1], image.shape[0]):
        return image
    return np.clip(cv2.resize(image, size, interpolation=RESIZE_MODES[rng.integers(3)]), 0, 1)


def add_noise(image: Image, settings: Noise, rng: Generator) -> Image:
    grey = rng.random() < settings.grey
    if rng.random() < settings.gaussian:
        shape = (*image.shape[:2], 1) if grey else image.shape
        noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(rng.uniform(*settings.sigma) / 255)
        return np.clip(image + noise, 0, 1)
    return np.clip(image + _poisson(image, grey, rng) * np.float32(rng.uniform(*settings.poisson_scale)), 0, 1)


def _poisson(image: Image, grey: bool, rng: Generator) -> Image:
    """Shot noise of zero mean, with as many photons at white as the picture has levels (rounded up to a power of 2)."""
    clean = np.rint(np.clip(image, 0, 1) * 255) / 255  # a ringing kernel may have left [0, 1]
    if grey:
        clean = cv2.cvtColor(clean.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None]
    levels = 2 ** math.ceil(math.log2(max(2, len(np.unique(np.rint(clean * 255))))))
    return (rng.poisson(clean * levels) / levels - clean).astype(np.float32)


def jpeg(image: Image, quality: Range, rng: Generator) -> Image:
    """Through a real JPEG encoder (4:2:0) at a random quality and back."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    code = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(rng.uniform(*quality))])[1]
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded[..., ::-1].astype(np.float32) / 255


def _odd(rng: Generator, low: int, high: int) -> int:
    return int(rng.integers((low - 1) // 2, (high - 1) // 2 + 1)) * 2 + 1
