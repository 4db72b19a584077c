"""Keep the input's low frequencies exactly: whatever the model does, tones seen from afar do not move."""

import torch
from torch import Tensor
from torch.nn import functional as F

TONE_BLOCK_PX = 16
"""Tones are means over blocks of this many pixels of the output, four of the input at four times its size."""

BISECTIONS = 24
"""Halvings of the range from black to white: less than a level of 16 bit is left."""


def keep_tones(image: Tensor, reference: Tensor) -> Tensor:
    """Return `image` with the block means of `reference`, both (B, 3, H, W) in [-1, 1], of any size. Within [-1, 1].

    A smooth correction is added, interpolated between the blocks, whose own means are exactly what is missing. Where
    detail then reaches beyond black or white, it is clipped and its block shifted until the mean is right again.
    """
    rows, columns = (interpolation(side, image) for side in image.shape[-2:])
    target = tones(reference)
    lacking = target - tones(image)
    for axis, matrix in ((-2, rows), (-1, columns)):
        lacking = solve(axis_means(matrix), lacking, axis)
    corrected = image + rows @ lacking @ columns.mT
    beyond = F.max_pool2d(corrected.abs(), TONE_BLOCK_PX, ceil_mode=True) > 1
    return refilled(corrected, target, beyond) if beyond.any() else corrected


def tones(image: Tensor) -> Tensor:
    """Return means over blocks, (B, C, rows, columns); blocks at the right and bottom edge may be smaller."""
    return F.avg_pool2d(image, TONE_BLOCK_PX, ceil_mode=True, count_include_pad=False)


def refilled(image: Tensor, target: Tensor, which: Tensor) -> Tensor:
    """Return every block in `which` moved until, clipped, it has the mean that is `wanted`: by bisection."""
    height, width = image.shape[-2:]
    padding = (0, -width % TONE_BLOCK_PX, 0, -height % TONE_BLOCK_PX)
    blocks, counted = (as_blocks(F.pad(plane, padding)) for plane in (image, torch.ones_like(image)))
    counted = counted[which]
    chosen, means = blocks[which], target[which][:, None]
    reach = 1 + float(chosen.abs().max())
    low, high = torch.full_like(means, -reach), torch.full_like(means, reach)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        clipped = (chosen + middle).clamp(-1, 1) * counted
        dark = clipped.sum(1, keepdim=True) < means * counted.sum(1, keepdim=True)
        low, high = torch.where(dark, middle, low), torch.where(dark, high, middle)
    blocks[which] = (chosen + (low + high) / 2).clamp(-1, 1)
    rows, columns = target.shape[-2:]
    whole = blocks.unflatten(-1, (TONE_BLOCK_PX, TONE_BLOCK_PX)).transpose(-3, -2)
    return whole.reshape(*image.shape[:2], rows * TONE_BLOCK_PX, columns * TONE_BLOCK_PX)[..., :height, :width]


def as_blocks(image: Tensor) -> Tensor:
    """Reshape (B, C, rows * 16, columns * 16) to (B, C, rows, columns, 256), a copy."""
    parts = image.unflatten(-1, (-1, TONE_BLOCK_PX)).unflatten(-3, (-1, TONE_BLOCK_PX))
    return parts.transpose(-3, -2).flatten(-2).clone()


def interpolation(side: int, like: Tensor) -> Tensor:
    """Return linear interpolation between the middles of blocks along one side, (side, blocks)."""
    blocks = torch.eye(-(-side // TONE_BLOCK_PX), device=like.device)
    whole = F.interpolate(blocks[None], scale_factor=TONE_BLOCK_PX, mode="linear", align_corners=False)[0]
    return whole[:, :side].mT.to(like)


def axis_means(matrix: Tensor) -> Tensor:
    """Return block means of every column of (side, blocks): (blocks, blocks)."""
    return F.avg_pool1d(matrix.mT[None], TONE_BLOCK_PX, ceil_mode=True, count_include_pad=False)[0].mT


def solve(matrix: Tensor, values: Tensor, axis: int) -> Tensor:
    """Return x with matrix @ x = values along `axis`, in float64, on the CPU: not every device has it."""
    moved = values.cpu().movedim(axis, 0)
    solution = torch.linalg.solve(matrix.cpu().double(), moved.double().flatten(1))
    return solution.view(moved.shape).movedim(0, axis).to(values)
