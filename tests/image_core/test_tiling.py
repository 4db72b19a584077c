"""Tiles cover everything once, leave no seam, and cost nothing when they are not needed."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from image_core.tiling import run_tiled, starts


@pytest.fixture
def image():
    return torch.rand(2, 3, 8 * 13, 8 * 17, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("length", range(1, 60))
def test_tiles_cover_the_whole_length(length):
    first = starts(length, 8, 3)
    assert first[0] == 0 and first[-1] + min(8, length) == length
    assert all(0 < b - a <= 5 for a, b in itertools.pairwise(first))


@pytest.mark.parametrize(("tile", "overlap"), [(4, 1), (5, 2), (8, 4), (12, 3)])
def test_a_local_function_is_the_same_with_and_without_tiles(image, tile, overlap):
    result = run_tiled(lambda x: x * 2 + 1, [(image, 8)], 8, tile, overlap)
    assert torch.allclose(result, image * 2 + 1, atol=1e-5)


def test_a_function_that_sees_its_surroundings_is_nearly_the_same(image):
    kernel = torch.full((3, 1, 9, 9), 1 / 81)

    def blur(x):
        return F.conv2d(F.pad(x, (4, 4, 4, 4), mode="replicate"), kernel, groups=3)

    assert (run_tiled(blur, [(image, 8)], 8, 8, 4) - blur(image)).abs().max() < 2e-3


def test_sizes_may_change_and_several_inputs_are_cut_alike(image):
    latent = F.avg_pool2d(image, 8)
    down = run_tiled(lambda x: F.avg_pool2d(x, 8), [(image, 8)], 1, 6, 2)
    assert torch.allclose(down, latent, atol=1e-6)
    up = run_tiled(lambda z, x: F.interpolate(z, scale_factor=8) + x, [(latent, 1), (image, 8)], 8, 6, 2)
    assert torch.allclose(up, F.interpolate(latent, scale_factor=8) + image, atol=1e-5)


def test_one_tile_is_one_call_on_the_input_itself(image):
    seen = []
    run_tiled(lambda x: seen.append(x) or x, [(image, 8)], 8, 17, 4)
    assert len(seen) == 1 and seen[0] is image


def test_wrong_sizes_are_refused(image):
    with pytest.raises(ValueError, match="overlap"):
        run_tiled(lambda x: x, [(image, 8)], 8, 8, 5)
    with pytest.raises(ValueError, match="same cells"):
        run_tiled(torch.add, [(image, 8), (image, 1)], 8, 8, 4)


def test_neighbouring_tiles_fade_into_each_other():
    """Two tiles that disagree by 1 leave a slope over half of their overlap, no step."""
    values = iter((0.0, 1.0))
    result = run_tiled(lambda x: torch.full_like(x, next(values)), [(torch.zeros(1, 1, 64, 8 * 12), 8)], 8, 8, 4)
    row = result[0, 0, 32]
    assert row[0] == 0 and row[-1] == 1 and 0 < row.diff().max() < 0.1
