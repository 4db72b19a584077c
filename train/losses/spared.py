"""Tell what of a low image can be known from what can only be guessed, and so is an adversary's to judge.

Of a codec's blocks, of noise and of a bad lens the truth can only be guessed. Where an image was made small and nothing
more, it is near to what is seen: there an adversary takes away more than it gives.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLER = 4
"""What a resize is measured by: made so many times smaller by areas, and enlarged again by bicubic."""

LEAST_ERROR = 1e-5
"""Mean square, in [-1, 1], of less than half a level of 255: a flat image has no error that another could exceed."""


def relative_error(image: Tensor, high: Tensor) -> Tensor:
    """Return the mean square error of each image over that of a resize, (B,): below 1 if it is nearer to the truth.

    image, high: (B, 3, H, W) in [-1, 1], sides multiples of 4. A face counts as much as black letters on white, whose
    errors are a hundred times as large.
    """
    resized = F.interpolate(F.avg_pool2d(high, SMALLER), scale_factor=SMALLER, mode="bicubic")
    own, usual = ((each - high).square().mean((1, 2, 3)) for each in (image, resized))
    return own.clamp_min(LEAST_ERROR) / usual.clamp_min(LEAST_ERROR)


def judged(low: Tensor, high: Tensor, spared: float) -> Tensor:
    """Return how much of each image an adversary may judge, (B,): from 0 where a resize does as well, to 1.

    low: already enlarged. spared: by which share more an error must be than a resize's for all; 0 spares none.
    """
    if not spared:
        return torch.ones(len(low), device=low.device)
    return ((relative_error(low, high).sqrt() - 1) / spared).clamp(0, 1)
