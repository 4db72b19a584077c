"""Fill what is transparent with the colours beside it, so that what nobody was to see does not bleed into edges."""

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.types import ImageArray, Plane


def extend_colors(image: ImageArray, alpha: Plane | None) -> ImageArray:
    """Give what is wholly transparent the colours beside it; all other pixels stay as they are.

    Fills through a pyramid: each level averages the visible colours by their opacity, and lends them to the finer one.
    image: (H, W, 3). alpha: (H, W) of the same type.
    """
    if alpha is None or alpha.all() or not alpha.any():
        return image
    weight = alpha.astype(np.float32)[..., None] / np.float32(np.iinfo(alpha.dtype).max)
    filled = np.rint(filled_from(image.astype(np.float32) * weight, weight))
    return cast(ImageArray, np.where(alpha[..., None] > 0, image, filled.astype(image.dtype)))


def filled_from(colors: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return colours without holes. colors: (H, W, 3), multiplied by `weight`, (H, W, 1)."""
    height, width = weight.shape[:2]
    own: NDArray[np.float32] = np.divide(colors, np.maximum(weight, 1e-9), dtype=np.float32)
    if (weight > 0).all() or (height, width) == (1, 1):
        return own
    size = ((width + 1) // 2, (height + 1) // 2)
    smaller = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in (colors, weight)]
    coarse = filled_from(smaller[0].reshape(*size[::-1], 3), smaller[1].reshape(*size[::-1], 1))
    lent = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
    result: NDArray[np.float32] = np.where(weight > 0, own, lent)
    return result
