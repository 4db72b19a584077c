"""Degrade an image as its way to somebody's disk does: lens, scaling, sharpening, grain, codecs.

Where train/degrade.py follows the published degradations stage by stage, this follows material that people have: images
that were only made small, cameras, old film, and above all video through real encoders. Whole images are damaged, not
crops: an encoder's blocks, its prediction and its rate have no meaning on 32 pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image as Pillow

from train.data.degrade import PRESETS, Dsize, Image, blur, degrade
from train.data.encoders import Clip, draw_encoder, transcode
from train.data.kernels import Blur, Range, draw_lens

Image8 = NDArray[np.uint8]

RESAMPLERS = ("area", "bicubic", "lanczos", "bilinear", "careless")
RESAMPLER_CHANCES = (0.3, 0.27, 0.18, 0.17, 0.08)
PILLOW = {
    "bicubic": Pillow.Resampling.BICUBIC,
    "lanczos": Pillow.Resampling.LANCZOS,
    "bilinear": Pillow.Resampling.BILINEAR,
}
FRAMES = 5
MOST_PAN_PX = 12  # of the good image, between two frames
MARGIN_PX = MOST_PAN_PX * (FRAMES - 1)


@dataclass(frozen=True)
class Material:
    """Hold ranges and probabilities of one kind of damage. Lengths are in pixels, of the good image only for the lens.

    blur, blurred: sigma of the lens, and its probability.
    sharpened: probability of an unsharp mask, as cameras, discs and scalers leave it.
    noise, noisy: sigma in levels, and its probability.
    chroma: probability that colours have noise of their own.
    grain: size of the grain; 0 is noise of single pixels.
    resampled: probability that it was stored smaller or larger in between.
    jpeg, compressed: quality, and its probability.
    coded: probability of a video encoder. again: probability of another one before it.
    """

    blur: Range = (0.2, 1.0)
    blurred: float = 0.5
    sharpened: float = 0.0
    noise: Range = (0.0, 4.0)
    noisy: float = 0.0
    chroma: float = 0.3
    grain: Range = (0.0, 0.0)
    resampled: float = 0.0
    jpeg: Range = (60, 97)
    compressed: float = 0.0
    coded: float = 0.0
    again: float = 0.0


MATERIALS = {
    "clean": Material(blurred=0.3, sharpened=0.1),
    "camera": Material(
        blur=(0.5, 3.2), blurred=0.95, sharpened=0.4, noise=(0.3, 7), noisy=0.85, grain=(0, 0.8), compressed=0.6
    ),
    "video": Material(
        blur=(0.3, 2.4), blurred=0.65, sharpened=0.25, noise=(0.3, 6), noisy=0.45, resampled=0.2, coded=1.0, again=0.25
    ),
    "old film": Material(
        blur=(0.8, 3.2),
        blurred=0.9,
        sharpened=0.3,
        noise=(2, 14),
        noisy=1.0,
        chroma=0.1,
        grain=(0.4, 1.1),
        resampled=0.3,
        coded=0.7,
        again=0.2,
    ),
}
KINDS = (*MATERIALS, *PRESETS)


@dataclass(frozen=True)
class Speckle:
    """Hold noise as drawn.

    Noise as drawn. level: sigma of the luma's, in [0, 1]; colour: of the two colour differences'. size: sigma of the
    grain in pixels. shadows: how much of it stays where it is darkest and brightest.
    """

    level: float
    colour: float
    size: float
    shadows: float


def damage(image: Image8, kind: str, scale: int, rng: Generator) -> Image8:
    """Return the low-quality image, (H / scale, W / scale, 3).

    kind: one of KINDS; those of train/data/degrade.py know one scale. Raises ValueError
    for another kind or scale, and for sides that do not divide.
    """
    height, width = image.shape[:2]
    if kind in PRESETS and scale == PRESETS[kind].scale:
        return degrade(image.astype(np.float32) / np.float32(255), PRESETS[kind], rng)
    if kind not in MATERIALS or height % scale or width % scale:
        raise ValueError(f"no {kind!r} of a {width} x {height} image at 1 / {scale}; kinds are {', '.join(KINDS)}")
    material = MATERIALS[kind]
    clip, own = small_clip(image, material, scale, rng)
    if rng.random() < material.coded:
        clip = through_encoders(clip, material.again, rng)
    low = clip[own]
    return jpeg(low, material.jpeg, rng) if rng.random() < material.compressed else low


def small_clip(image: Image8, material: Material, scale: int, rng: Generator) -> tuple[Clip, int]:
    """Return neighbouring frames at the size that is stored, and which of them shows the image in its own place.

    One frame where no encoder follows. Lens, resampler and strengths hold for all, noise is fresh in each.
    """
    small = (image.shape[1] // scale, image.shape[0] // scale)
    lens = draw_lens(Blur(material.blur, chance=material.blurred, sinc=0), rng)
    good = blur(image.astype(np.float32) / np.float32(255), lens)
    how = str(rng.choice(RESAMPLERS, p=RESAMPLER_CHANCES))
    inner = tuple(round(side * draw_factor(rng)) for side in small) if rng.random() < material.resampled else small
    halo = (rng.uniform(0.2, 1.5), rng.uniform(0.5, 1.5)) if rng.random() < material.sharpened else (0.0, 1.0)
    speckle = draw_speckle(material, rng) if rng.random() < material.noisy else None
    count = FRAMES if material.coded else 1
    own = int(rng.integers(count))
    frames = []
    for view in views(good, count, own, rng):
        frame = shrink(shrink(view, inner, how), small, "bicubic")
        frame = add_speckle(sharpen(frame, *halo), speckle, rng)
        frames.append(to_levels(frame))
    return np.stack(frames), own


def draw_factor(rng: Generator) -> float:
    """Draw the factor of a size in between: half the time smaller, so that it was enlarged before, else larger."""
    return float(rng.uniform(0.5, 1) if rng.random() < 0.5 else rng.uniform(1, 2))


def views(good: Image, count: int, own: int, rng: Generator) -> list[Image]:
    """Show the image as `count` neighbouring frames while a camera pans, or stands; number `own` is the image."""
    stands = count == 1 or rng.random() < 0.25
    speed = np.zeros(2) if stands else rng.uniform(-1, 1, 2) * MOST_PAN_PX * rng.random()
    padded = cv2.copyMakeBorder(good, MARGIN_PX, MARGIN_PX, MARGIN_PX, MARGIN_PX, cv2.BORDER_REFLECT_101)
    height, width = good.shape[:2]
    shown = []
    for number in range(count):
        top, left = (MARGIN_PX + round((number - own) * float(step)) for step in speed)
        shown.append(padded[top : top + height, left : left + width])
    return shown


def shrink(image: Image, size: Dsize, how: str) -> Image:
    """Resize to (width, height), larger ones too. how: one of RESAMPLERS; "careless" skips pixels and so aliases."""
    if size == (image.shape[1], image.shape[0]):
        return image
    if how in PILLOW:
        small = Pillow.fromarray(to_levels(image)).resize(size, PILLOW[how])
        return np.asarray(small, np.float32) / np.float32(255)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if how == "area" else cv2.INTER_CUBIC)


def sharpen(image: Image, amount: float, sigma: float) -> Image:
    """Apply an unsharp mask: edges get a halo on both sides."""
    return image + np.float32(amount) * (image - cv2.GaussianBlur(image, (0, 0), sigma)) if amount else image


def draw_speckle(material: Material, rng: Generator) -> Speckle:
    level = rng.uniform(*material.noise) / 255
    colour = level * rng.uniform(0, 2) if rng.random() < material.chroma else 0.0
    return Speckle(level, colour, rng.uniform(*material.grain), rng.uniform(0.3, 1))


def add_speckle(image: Image, speckle: Speckle | None, rng: Generator) -> Image:
    """Add grain to the luma, strongest at middle grey, and blotches twice as large to the colours."""
    if speckle is None:
        return image
    luma = image @ np.array([0.299, 0.587, 0.114], np.float32)
    strength = speckle.shadows + (1 - speckle.shadows) * 4 * np.clip(luma * (1 - luma), 0, 0.25)
    noise = np.float32(speckle.level) * strength * grain(luma.shape, speckle.size, rng)
    image = image + noise[..., None]
    if speckle.colour:
        blue, red = (np.float32(speckle.colour) * grain(luma.shape, 2 * speckle.size + 0.5, rng) for _ in range(2))
        image = image + np.stack([1.402 * red, -0.344 * blue - 0.714 * red, 1.772 * blue], -1)
    return image.astype(np.float32)


def grain(shape: tuple[int, ...], sigma: float, rng: Generator) -> Image:
    """Return noise of unit variance whose grains have that size."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if sigma < 0.3:
        return noise
    noise = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return noise / max(float(noise.std()), 1e-6)


def through_encoders(clip: Clip, again: float, rng: Generator) -> Clip:
    """Encode and decode once; with the probability `again` through another encoder before, often at another size."""
    if rng.random() < again:
        height, width = clip.shape[1:3]
        factor = draw_factor(rng) if rng.random() < 0.6 else 1.0
        inner = tuple(max(16, round(side * factor)) for side in (width, height))
        first = transcode(resized(clip, inner), *draw_encoder(rng))
        clip = resized(first, (width, height))
    return transcode(clip, *draw_encoder(rng))


def resized(clip: Clip, size: Dsize) -> Clip:
    if size == (clip.shape[2], clip.shape[1]):
        return clip
    return np.stack([np.asarray(Pillow.fromarray(frame).resize(size, PILLOW["bicubic"])) for frame in clip])


def jpeg(image: Image8, quality: Range, rng: Generator) -> Image8:
    """Pass through a real JPEG encoder, half the time with colours at full size, as good cameras do."""
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if rng.random() < 0.5 else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    settings = [cv2.IMWRITE_JPEG_QUALITY, round(rng.uniform(*quality)), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    decoded = cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], settings)[1], cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    return decoded.astype(np.uint8, copy=False)


def to_levels(image: Image) -> Image8:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
