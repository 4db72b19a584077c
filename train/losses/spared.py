"""Tell what of a low image can be known from what can only be guessed, and so is an adversary's to judge.

Of a codec's blocks, of noise and of a bad lens the truth can only be guessed. Where an image was made small and nothing
more, it is near to what is seen: there an adversary takes away more than it gives.
"""

from torch import Tensor
from torch.nn import functional as F

SMALLER = 4
"""What a resize is measured by: made so many times smaller by areas, and enlarged again by bicubic."""

LEAST_ERROR = 1e-5
"""Mean square, in [-1, 1], of less than half a level of 255: a flat image has no error that another could exceed."""


def relative_errors(high: Tensor, *images: Tensor) -> list[Tensor]:
    """Return for each of `images` the mean square errors over those of a resize, (B,): below 1 if nearer to the truth.

    high, images: (B, 3, H, W) in [-1, 1], sides multiples of 4. A face counts as much as black letters on white, whose
    errors are a hundred times as large.
    """
    resized = F.interpolate(F.avg_pool2d(high, SMALLER), scale_factor=SMALLER, mode="bicubic")
    usual, *errors = ((each - high).square().mean((1, 2, 3)).clamp_min(LEAST_ERROR) for each in (resized, *images))
    return [own / usual for own in errors]


def judged(errors: Tensor, spared: float) -> Tensor:
    """Return how much of each image an adversary may judge, (B,): from 0 where a resize does as well, to 1 for all.

    errors: of the low images, relative, (B,). spared: by which share more an error must be than a resize's for all.
    """
    return ((errors.sqrt() - 1) / spared).clamp(0, 1)
