"""The losses against printed patterns: what they punish, and what they leave alone."""

import pytest
import torch
from torch.nn import functional as F

from osediff_video.metrics.image import grid
from train.losses.artifacts import beads, block_grid, regular_pattern, stipple


@pytest.fixture(scope="module")
def target() -> torch.Tensor:
    """Smooth texture without a lattice, (4, 3, 64, 64) in [-1, 1]."""
    noise = torch.randn(4, 3, 72, 72, generator=torch.Generator().manual_seed(0))
    return (F.avg_pool2d(noise, 9, 1)[..., :64, :64] * 3).clamp(-1, 1)


def blurred_at_seams(image: torch.Tensor) -> torch.Tensor:
    """Every eighth column replaced by the mean of its neighbours: blocks whose borders are soft."""
    image = image.clone()
    columns = torch.arange(8, image.shape[-1] - 1, 8)
    image[..., columns] = (image[..., columns - 1] + image[..., columns + 1]) / 2
    return image


def test_a_grid_of_blocks_costs_and_the_target_itself_does_not(target):
    assert block_grid(target, target) == 0
    assert block_grid(blurred_at_seams(target), target) > 0.1
    assert block_grid(blurred_at_seams(target).mT, target.mT) > 0.1


def test_sharper_everywhere_alike_is_no_grid(target):
    assert block_grid(2 * target, target) < 1e-5
    soft = block_grid(F.avg_pool2d(F.pad(target, (1, 1, 1, 1), mode="replicate"), 3, 1), target)
    assert soft < 0.3 * block_grid(blurred_at_seams(target), target)


def test_following_its_gradient_evens_out_the_grid_that_the_score_sees(target):
    image = blurred_at_seams(target).requires_grad_(True)
    before = grid(image.detach()[0, 0].numpy() * 127.5)
    optimiser = torch.optim.Adam([image], 1e-3)
    for _ in range(60):
        optimiser.zero_grad()
        block_grid(image, target).backward()
        optimiser.step()
    assert grid(image.detach()[0, 0].numpy() * 127.5) < 0.6 * before


@pytest.mark.parametrize(("down", "right"), [(0.25, 0.25), (0.0, 0.5), (0.31, 0.09), (0.2, -0.13)])
def test_stripes_at_any_angle_cost_and_texture_or_edges_do_not(target, down, right):
    """Cycles per pixel: periods of 2 to 4 px, along the blocks and not."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    stripes = 0.1 * torch.cos(2 * torch.pi * (down * rows + right * columns))
    texture = 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    cost = regular_pattern(target + stripes, target)
    assert cost > 0.01
    assert regular_pattern(target, target) < 0.02 * cost
    assert regular_pattern(target + texture, target) < 0.2 * cost
    assert regular_pattern(target + 0.02 * (rows + columns), target) < 0.05 * cost  # a slope
    assert regular_pattern(target + 0.5 * (columns > rows + 3), target) < 0.2 * cost  # an edge
    assert regular_pattern(target + stripes, target + texture) > 0.5 * cost  # texture is no excuse
    assert regular_pattern(target + stripes, target + 2 * stripes) < 0.1 * cost  # stripes that are there are


def test_stripes_cost_the_more_the_less_there_is_to_hide_them(target):
    columns = torch.arange(64.0)
    stripes = 0.03 * torch.cos(torch.pi * columns)
    grain = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    costs = [stipple(target + level * grain + stripes, target + level * grain) for level in (0.3, 0.1, 0)]
    assert costs[0] * 2 < costs[1] < costs[2] / 2
    textured = target + 0.3 * grain
    pale = stipple((textured + 4 * stripes) / 4, textured / 4)
    assert pale > 0.6 * stipple(textured + 4 * stripes, textured)  # in dark bricks as in bright ones
    assert stipple(target + 0.1 * grain, target + 0.1 * grain) < 0.1 * costs[1]
    assert stipple(target + 0.01 * grain, target) < 0.1 * costs[2]


def beaded(image: torch.Tensor, height: float) -> torch.Tensor:
    """A bright point on every fourth pixel of every fourth row: one for each pixel of what was enlarged."""
    image = image.clone()
    image[..., 1::4, 1::4] += height
    return image


@pytest.mark.parametrize("height", [0.1, -0.1])
def test_beads_cost_where_rows_and_columns_show_little(target, height):
    grain = 0.1 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    textured = target + grain
    cost = beads(beaded(textured, height), textured)
    assert cost > 0.3
    assert beads(textured, textured) < 0.3 * cost  # chance, of so few blocks
    assert abs(beads(2 * textured, textured) - beads(textured, textured)) < 1e-5  # sharper everywhere alike


def test_beads_in_dark_texture_cost_as_in_strong_one(target):
    """Half of the samples hold strong texture and nothing wrong, half of them a tenth of it, with beads."""
    strong = 0.5 * torch.randn(target.shape, generator=torch.Generator().manual_seed(2))
    pale = 0.1 * strong
    clean = beads(torch.cat([strong, pale]), torch.cat([strong, pale]))
    assert beads(torch.cat([strong, beaded(pale, 0.08)]), torch.cat([strong, pale])) > 3 * clean


def test_none_reaches_the_target(target):
    image, other = (2 * target).requires_grad_(True), blurred_at_seams(target).requires_grad_(True)
    (block_grid(image, other) + regular_pattern(image, other) + beads(image, other) + stipple(image, other)).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0 and other.grad is None
