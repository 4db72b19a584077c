"""Resize images on a device as Pillow does on a CPU: the same bits for 8 bits a channel, within a level for 16.

Pillow resizes rows, rounds, then columns, with weights in whole numbers of 2^-22. Here each pass is a matrix product.
Dense, the matrices are no more work than one convolution of a model. float32 holds 24 bits, a product of a weight and a
level 30: weights are split into a coarse and a fine half, whose products and sums are exact.
"""

import functools
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from image_core.images import white_of

WEIGHT_BITS, FINE_BITS = 22, 12
ONE, FINE, COARSE_ONE = 1 << WEIGHT_BITS, 1 << FINE_BITS, 1 << (WEIGHT_BITS - FINE_BITS)


def enlarge_levels(levels: Tensor, height: int, width: int) -> Tensor:
    """Resize as `enlarge` does. levels: (B, H, W, 3) of uint8 or uint16. Returns (B, 3, height, width) in float32."""
    white = white_of(levels)
    values = levels.permute(0, 3, 1, 2).float()
    if levels.shape[1:3] == (height, width):
        return values
    resize = resize_eight_bit if white == 255 else resize_values
    values = resize(resize(values.contiguous(), width).mT, height).mT
    return values.round().clamp(0, white)


def resize_eight_bit(values: Tensor, target: int) -> Tensor:
    """Resize along the last axis as Pillow does whole numbers, and round to such."""
    coarse, fine = weights(values.shape[-1], target, values.device)
    sums = values @ coarse + (values @ fine / FINE).floor()
    return ((sums + COARSE_ONE // 2) / COARSE_ONE).floor().clamp(0, 255)


def resize_values(values: Tensor, target: int) -> Tensor:
    """Resize along the last axis; nothing is rounded or clipped."""
    coarse, fine = weights(values.shape[-1], target, values.device)
    return values @ (coarse * FINE / ONE + fine / ONE)


@functools.lru_cache(maxsize=8)
def weights(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the coarse and the fine halves of Pillow's weights, (source, target), whole numbers in float32."""
    step = source / target
    reach = max(step, 1.0)
    middle = (np.arange(target) + 0.5) * step
    weight = cubic((np.arange(source)[:, None] - middle + 0.5) / reach)
    whole = np.trunc(np.copysign(0.5, weight) + weight / weight.sum(0) * ONE)
    coarse = np.floor(whole / FINE)
    halves = np.stack([coarse, whole - coarse * FINE]).astype(np.float32)
    return cast(tuple[Tensor, Tensor], torch.from_numpy(halves).to(device).unbind())


def cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pillow's bicubic filter, with a = -0.5."""
    x, a = np.abs(distance), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
