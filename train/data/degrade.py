"""Make a low-quality image from a good one: the second-order degradation of Real-ESRGAN, as pure functions.

An image here is (H, W, 3) RGB float32 in [0, 1]; every random choice comes from the `rng` argument, so the same seed
gives the same bits. A bad `Camera` is drawn first, then it takes the image; over a clip it stays the same and only
its noise is fresh. Real-ESRGAN, https://arxiv.org/abs/2107.10833; the values are those OSEDiff trains with.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.data.kernels import Blur, Lens, Range, draw_lens, draw_ringing, kernel

Image = NDArray[np.float32]
Dsize = tuple[int, int]
"""(width, height) in pixels: OpenCV's order and name."""

RESIZE_MODES = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Resize:
    """Hold the probabilities of growing, shrinking and keeping the size, and the range of the factor."""

    up: float
    down: float
    keep: float
    factor: Range


@dataclass(frozen=True)
class NoiseSettings:
    """Define noise: Gaussian (sigma in 1/255) with this probability, else Poisson; one for all channels with `grey`."""

    gaussian: float
    sigma: Range
    poisson_scale: Range
    grey: float = 0.4


@dataclass(frozen=True)
class DegradationPass:
    """Define one stage of the degradation.

    jpeg: range of the quality. The factor of the second stage is one of the final size.
    """

    blur: Blur
    resize: Resize
    noise: NoiseSettings
    jpeg: Range


FIRST = DegradationPass(
    Blur(sigma=(0.2, 3)), Resize(0.2, 0.7, 0.1, (0.15, 1.5)), NoiseSettings(0.5, (1, 30), (0.05, 3)), jpeg=(30, 95)
)
SECOND = DegradationPass(
    Blur(sigma=(0.2, 1.5), chance=0.8),
    Resize(0.3, 0.4, 0.3, (0.3, 1.2)),
    NoiseSettings(0.5, (1, 25), (0.05, 2.5)),
    jpeg=(30, 95),
)


@dataclass(frozen=True)
class Degradation:
    """Define one or two stages, then the final size; by default the paper's.

    sinc: chance of a ringing filter around the last JPEG (two stages only). scale: how much smaller it gets.
    """

    first: DegradationPass = FIRST
    second: DegradationPass | None = SECOND
    sinc: float = 0.8
    scale: int = 4


KEEP = Resize(0, 0, 1, (1, 1))
LIGHT = Degradation(
    DegradationPass(
        Blur(sigma=(0.2, 1.2), isotropic_only=True, sinc=0), KEEP, NoiseSettings(1, (0, 3), (0, 0)), (75, 97)
    ),
    None,
)
MEDIUM = Degradation(
    DegradationPass(
        Blur(sigma=(0.2, 2.0)), Resize(0.1, 0.4, 0.5, (0.4, 1.2)), NoiseSettings(0.5, (1, 12), (0.05, 1)), (50, 95)
    ),
    None,
)
HEAVY = Degradation()
PRESETS = {"light": LIGHT, "medium": MEDIUM, "heavy": HEAVY}


@dataclass(frozen=True)
class Grain:
    """Hold noise as drawn.

    level: sigma in [0, 1] of Gaussian noise, or the factor on Poisson noise. grey: the same in all channels.
    """

    kind: str
    level: float
    grey: bool


@dataclass(frozen=True)
class Pass:
    """Hold one stage as drawn. lens: None is sharp. jpeg: quality, None where the JPEG belongs to the end."""

    lens: Lens | None
    size: Dsize
    mode: int
    grain: Grain
    jpeg: int | None


@dataclass(frozen=True)
class Camera:
    """Hold everything about one degradation but the noise itself.

    size, mode: of the last resize. ringing: sinc filter after it, or None. jpeg_last: whether the JPEG of quality
    `jpeg` comes after that resize, or before it.
    """

    passes: tuple[Pass, ...]
    size: Dsize
    mode: int
    ringing: Lens | None
    jpeg_last: bool
    jpeg: int


def degrade(image: Image, settings: Degradation, rng: Generator) -> NDArray[np.uint8]:
    """Return the low-quality image, (H / scale, W / scale, 3) uint8. Raises ValueError when a side does not divide."""
    return photograph(image, draw_camera(settings, image.shape[0], image.shape[1], rng), rng)


def draw_camera(settings: Degradation, height: int, width: int, rng: Generator) -> Camera:
    """Draw one for images of `height` x `width`. Raises ValueError when a side does not divide by the scale."""
    if height % settings.scale or width % settings.scale:
        raise ValueError(f"a {width} x {height} image does not divide by the scale of {settings.scale}")
    small = (width // settings.scale, height // settings.scale)
    first, second = settings.first, settings.second
    if second is None:
        # area: what a camera or a good downscaler does
        one = draw_pass(first, (width, height), None, rng)
        return Camera((one,), small, cv2.INTER_AREA, None, True, draw_quality(first.jpeg, rng))
    return Camera(
        passes=(
            draw_pass(first, (width, height), draw_quality(first.jpeg, rng), rng),
            draw_pass(second, small, None, rng),
        ),
        size=small,
        mode=RESIZE_MODES[rng.integers(3)],
        ringing=draw_ringing(rng) if rng.random() < settings.sinc else None,
        jpeg_last=bool(rng.random() < 0.5),
        jpeg=draw_quality(second.jpeg, rng),
    )


def draw_pass(settings: DegradationPass, reference: Dsize, quality: int | None, rng: Generator) -> Pass:
    """Draw one stage. reference: the size whose multiple the stage resizes to."""
    lens = draw_lens(settings.blur, rng)
    low, high = settings.resize.factor
    choice = rng.choice(3, p=(settings.resize.up, settings.resize.down, settings.resize.keep))
    factor = 1.0 if choice == 2 else rng.uniform(*((1, high), (low, 1))[choice])
    size = (max(1, int(reference[0] * factor)), max(1, int(reference[1] * factor)))
    mode = RESIZE_MODES[rng.integers(3)]
    grey = bool(rng.random() < settings.noise.grey)
    if rng.random() < settings.noise.gaussian:
        grain = Grain("gaussian", rng.uniform(*settings.noise.sigma) / 255, grey)
    else:
        grain = Grain("poisson", rng.uniform(*settings.noise.poisson_scale), grey)
    return Pass(lens, size, mode, grain, quality)


def draw_quality(quality: Range, rng: Generator) -> int:
    return round(rng.uniform(*quality))


def photograph(image: Image, camera: Camera, rng: Generator) -> NDArray[np.uint8]:
    """Apply `camera` to the image, (height, width, 3) uint8 of its size. rng: the noise only."""
    for one in camera.passes:
        image = add_sensor_noise(resize(blur(image, one.lens), one.size, one.mode), one.grain, rng)
        image = image if one.jpeg is None else jpeg(image, one.jpeg)
    if camera.jpeg_last:
        image = jpeg(blur(resize(image, camera.size, camera.mode), camera.ringing), camera.jpeg)
    else:
        image = blur(resize(jpeg(image, camera.jpeg), camera.size, camera.mode), camera.ringing)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def blur(image: Image, lens: Lens | None) -> Image:
    if lens is None:
        return image
    return cv2.filter2D(image, -1, kernel(lens), borderType=cv2.BORDER_REFLECT_101)


def resize(image: Image, size: Dsize, mode: int) -> Image:
    # all modes leave an image of the right size as it is
    return image if size == (image.shape[1], image.shape[0]) else cv2.resize(image, size, interpolation=mode)


def add_sensor_noise(image: Image, grain: Grain, rng: Generator) -> Image:
    """Add noise, clipped to [0, 1]."""
    if grain.kind == "gaussian":
        noise = rng.standard_normal((*image.shape[:2], 1 if grain.grey else 3), dtype=np.float32)
    else:
        noise = poisson_noise(image, grain.grey, rng)
    return np.clip(image + noise * np.float32(grain.level), 0, 1)


def poisson_noise(image: Image, grey: bool, rng: Generator) -> Image:
    """Return shot noise of zero mean: at white as many photons as the image has levels (up to the next power of 2)."""
    clean = np.clip(image, 0, 1)  # a ringing kernel or a cubic may have left it
    if grey:
        clean = cv2.cvtColor(clean, cv2.COLOR_RGB2GRAY)[..., None]
    levels = np.rint(clean * 255).astype(np.uint8)
    photons = 2 ** math.ceil(math.log2(np.count_nonzero(np.bincount(levels.ravel(), minlength=256))))
    mean = levels * np.float64(photons / 255)
    return ((rng.poisson(mean) - mean) / photons).astype(np.float32)


def jpeg(image: Image, quality: int) -> Image:
    """Pass through a real JPEG encoder (4:2:0) and back."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    code = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    return decoded.astype(np.float32) / np.float32(255)
