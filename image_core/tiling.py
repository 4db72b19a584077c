"""Run any function over overlapping tiles and blend the results without a seam.

The plane is a grid of cells: a latent position, or the 8 x 8 pixels it stands for. Every input says how many of its
pixels make the side of a cell, so one function serves image to latent and latent to image.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def run_tiled(
    function: Callable[..., Tensor],
    inputs: Sequence[tuple[Tensor, int]],
    output_cell_px: int,
    tile: int,
    overlap: int,
    progress: Callable[[float], None] = lambda _: None,
) -> Tensor:
    """Apply `function` tile by tile.

    inputs: (tensor (B, C, rows * px, columns * px), px) each; `function` gets one crop of each. output_cell_px: pixels
    of the function's output along a cell. tile, overlap: in cells, overlap at most half a tile.
    progress: called with the share that is done.

    Returns (B, C', rows * output_cell_px, columns * output_cell_px). When the grid fits in one tile the function is
    called once, on the inputs themselves. Raises ValueError for sizes that do not fit together.
    """
    if not 0 < overlap <= tile // 2:
        raise ValueError(f"overlap must be from 1 to half the tile of {tile} cells, got {overlap}")
    grids = {tuple(side // px for side in tensor.shape[-2:]) for tensor, px in inputs}
    if len(grids) != 1 or any(side % px for tensor, px in inputs for side in tensor.shape[-2:]):
        raise ValueError(f"inputs do not cover the same cells: {[(tuple(t.shape), px) for t, px in inputs]}")
    rows, columns = grids.pop()
    if rows <= tile and columns <= tile:
        result = function(*(tensor for tensor, _ in inputs))
        progress(1.0)
        return result
    total: Tensor | None = None
    places = [(top, left) for top in starts(rows, tile, overlap) for left in starts(columns, tile, overlap)]
    for done, (top, left) in enumerate(places, 1):
        height, width = min(tile, rows), min(tile, columns)
        result = function(*(_cut(tensor, px, top, left, height, width) for tensor, px in inputs)).float()
        if total is None:
            size = (rows * output_cell_px, columns * output_cell_px)
            total = result.new_zeros(*result.shape[:2], *size)
            weights = result.new_zeros(1, 1, *size)
        weight = torch.outer(
            _ramp(height, overlap, top > 0, top + height < rows, output_cell_px, result.device),
            _ramp(width, overlap, left > 0, left + width < columns, output_cell_px, result.device),
        )
        _cut(total, output_cell_px, top, left, height, width).add_(result * weight)
        _cut(weights, output_cell_px, top, left, height, width).add_(weight)
        progress(done / len(places))
    assert total is not None
    return total / weights


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return the first cells of equal tiles that cover `length`; the last is moved inwards to end at the edge."""
    last = max(0, length - tile)
    return [*range(0, last, tile - overlap), last]


def _cut(tensor: Tensor, px: int, top: int, left: int, height: int, width: int) -> Tensor:
    return tensor[..., top * px : (top + height) * px, left * px : (left + width) * px]


def _ramp(cells: int, overlap: int, from_zero: bool, to_zero: bool, px: int, device: torch.device) -> Tensor:
    """Return weights along one side of a tile: 1, falling in a line over the overlap at edges that have a neighbour.

    The outer half of the overlap weighs next to nothing: there the tile has seen too little of its surroundings.
    """
    length, slope = cells * px, overlap * px
    distance = torch.arange(length, device=device) + 0.5
    rise = ((distance - slope / 4) / (slope / 2)).clamp(1e-3, 1)
    ones = torch.ones(length, device=device)
    return (rise if from_zero else ones) * (rise.flip(0) if to_zero else ones)
