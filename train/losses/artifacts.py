"""Measure what a learned distance overlooks and eyes do not: seams of blocks, and a hatch in every block.

A perceptual network takes a hatch for texture, and one that is the same in every block of pixels is the cheapest for a
generator that makes such blocks. Both losses look at full resolution. Sharper edges cost nothing in either.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX

WINDOW_BLOCKS = 4
LEAST_AMPLITUDE = 1e-4  # far below a level: keeps the slope of the root finite where nothing repeats


def block_grid(image: Tensor, target: Tensor) -> Tensor:
    """Return how much sharpness depends on the place in blocks of 8 x 8 pixels, and does not in the target. Scalar.

    image, target: (B, 3, H, W) in [-1, 1], sides multiples of 8, the blocks of the generator from the corner on. By
    phase in the block, along rows and columns: the mean absolute second difference over that of the target; the
    standard deviation of these eight over their mean, 0 for no grid. Differentiable in `image`.
    """
    losses = []
    for axis in (-1, -2):
        own, other = (by_phase(frames.float(), axis) for frames in (image, target))
        ratio = own / other.detach().clamp_min(1e-6)
        losses.append(ratio.std(correction=0) / ratio.mean().clamp_min(1e-6))
    return torch.stack(losses).mean()


def by_phase(image: Tensor, axis: int) -> Tensor:
    """Return the mean absolute second difference along an axis for each place in a block, (8,)."""
    curvature = image.diff(n=2, dim=axis).abs().movedim(axis, -1).flatten(0, -2).mean(0)
    whole = F.pad(curvature, (1, 1))  # the pixel at each end has no second difference
    sums = whole.view(-1, LATENT_PX).sum(0)
    counts = F.pad(torch.ones_like(curvature), (1, 1)).view(-1, LATENT_PX).sum(0)
    return sums / counts


def printed_pattern(image: Tensor, target: Tensor) -> Tensor:
    """Return the amplitude of what repeats from block to block, beyond that of the target. Scalar.

    image, target: (B, 3, H, W) in [-1, 1], sides multiples of 8 and 32 at least, the blocks of the generator from the
    corner on. In windows of 4 x 4 blocks: the root mean square of the mean block, of grey without its low frequencies.
    Texture averages out there, a hatch that the generator prints into every block does not. Differentiable in `image`.
    """
    return (pattern(image.float()) - pattern(target.float()).detach()).relu().mean()


def pattern(image: Tensor) -> Tensor:
    grey = image.mean(1, keepdim=True)
    taps = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (taps[:, None] * taps)[None, None]
    fine = grey - F.conv2d(F.pad(grey, (2, 2, 2, 2), mode="replicate"), kernel)
    mean_block = F.avg_pool2d(F.pixel_unshuffle(fine, LATENT_PX), WINDOW_BLOCKS, WINDOW_BLOCKS // 2)
    return (mean_block.square().mean(1) + LEAST_AMPLITUDE**2).sqrt()
