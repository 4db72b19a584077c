"""The loss of crooked contours: what it punishes, and what it leaves alone."""

import pytest
import torch
from torch.nn import functional as F

from train.losses.contours import crookedness

ROWS, COLUMNS = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")


def edge(slant: float, waver_px: float = 0.0, moved_px: float = 0.0, width_px: float = 1.0) -> torch.Tensor:
    """A slanted edge whose place wavers with a period of eight rows, (1, 3, 64, 64) in [-.8, .8]."""
    place = 32 + moved_px + slant * (ROWS - 32) + waver_px * torch.sin(2 * torch.pi * ROWS / 8)
    return (0.8 * torch.tanh((COLUMNS - place) / width_px)).expand(1, 3, -1, -1)


@pytest.mark.parametrize("slant", [0.0, 0.3, -0.7])
@pytest.mark.parametrize("turned", [False, True])
def test_a_wavering_edge_costs_and_a_straight_one_elsewhere_or_harder_does_not(slant, turned):
    def cost(image: torch.Tensor) -> float:
        target = edge(slant)
        return float(crookedness(image.mT, target.mT) if turned else crookedness(image, target))

    straight, wavering = cost(edge(slant)), cost(edge(slant, waver_px=1.0))
    assert wavering > 0.05 and cost(edge(slant, waver_px=2.0)) > 1.5 * wavering
    assert straight < 0.05 * wavering
    assert cost(edge(slant, moved_px=1.5)) < 0.15 * wavering
    assert cost(edge(slant, width_px=0.6)) < 0.2 * wavering
    assert cost(edge(slant, width_px=3.0)) < 0.2 * wavering
    assert abs(cost(0.3 * edge(slant, waver_px=1.0)) - wavering) < 0.01  # paler, as crooked


def test_texture_and_flat_areas_are_not_contours():
    flat = torch.zeros(1, 3, 64, 64)
    grain = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert crookedness(grain, flat) == 0
    straight, other_grain = edge(0.3), grain.roll(7, -1)
    among = crookedness(torch.cat([straight, 0.5 * grain]), torch.cat([straight, 0.5 * other_grain]))
    assert among < 0.1  # texture is free to be another
    corner = 0.8 * torch.tanh(torch.minimum(COLUMNS - 32, ROWS - 32)).expand(1, 3, -1, -1)
    assert crookedness(corner, corner) < 0.02


def test_following_its_gradient_straightens_an_edge_and_leaves_the_target_alone():
    target = edge(0.3).clone().requires_grad_(True)
    image = edge(0.3, waver_px=1.0).clone().requires_grad_(True)
    before = float(crookedness(image, target).detach())
    optimiser = torch.optim.Adam([image], 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        crookedness(image, target).backward()
        optimiser.step()
    assert crookedness(image, target) < 0.5 * before
    assert target.grad is None
    across = F.avg_pool2d(image.detach().mean(1, keepdim=True), 5)
    assert across[..., -1].mean() - across[..., 0].mean() > 1.4  # still an edge
