"""Convert between colour spaces through ICC profiles."""

import io
from functools import lru_cache
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from image_core.images import to_eight_bit
from osediff_video.images.matrix_profile import grey_levels, to_srgb_by_matrix
from osediff_video.types import ImageArray

SRGB = ImageCms.createProfile("sRGB")
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
SAME_LEVELS = 3
"""How far an RGB profile may lead away from sRGB and still be one of its many versions."""


@lru_cache(16)
def space_of(icc: bytes) -> str | None:
    """Return the colour space a profile describes: "RGB", "GRAY", "CMYK", "Lab"; None for what is no profile."""
    try:
        return str(ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.xcolor_space).strip()
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def converted(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an image of a mode LittleCMS knows (RGB, L, CMYK, LAB) from its profile to sRGB, as RGB.

    icc: None for LAB, which needs none. Raises ValueError where the profile does not fit.
    """
    source = ImageCms.createProfile("LAB") if icc is None else ImageCms.ImageCmsProfile(io.BytesIO(icc))
    try:
        result = ImageCms.profileToProfile(image, source, SRGB, INTENT, "RGB", flags=FLAGS)
    except ImageCms.PyCMSError as error:
        raise ValueError(f"the colour profile does not fit the image ({error})") from error
    assert result is not None
    return result


@lru_cache(16)
def is_srgb(icc: bytes) -> bool:
    """Return whether an RGB profile leaves colours where sRGB has them."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    try:
        moved = np.asarray(converted(Image.fromarray(grid), icc))
    except ValueError:
        return False
    return bool(np.abs(moved.astype(int) - grid).max() <= SAME_LEVELS)


def to_srgb(image: ImageArray, icc: bytes) -> ImageArray:
    """Convert RGB, (H, W, 3) of uint8 or uint16, from its profile to sRGB.

    An RGB profile converts RGB, a grey one an image whose channels are equal. Raises ValueError for others.
    """
    if is_srgb(icc):
        return image
    if space_of(icc) == "GRAY":
        if image.dtype == np.uint16 and (levels := grey_levels(icc)) is not None:
            return cast(ImageArray, levels[image])
        grey = Image.fromarray(np.ascontiguousarray(to_eight_bit(image)[..., 0]))
        return same_depth(np.asarray(converted(grey, icc)), image)
    if image.dtype == np.uint16 and (deep := to_srgb_by_matrix(image, icc)) is not None:
        return deep
    return same_depth(np.asarray(converted(Image.fromarray(to_eight_bit(image)), icc)), image)


def same_depth(eight: ImageArray, like: ImageArray) -> ImageArray:
    return eight if like.dtype == np.uint8 else cast(ImageArray, eight.astype(np.uint16) * np.uint16(257))
