"""Open what a recipe learns from and is checked on: pairs made as they are needed, or those of a pool."""

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from image_core.images import enlarge, to_tensor
from train.config import DataConfig
from train.data import samples
from train.data.damage import damage
from train.data.files import find_sources
from train.data.pool import HIGH_PX
from train.data.pool_samples import PoolSamples
from train.data.samples import HOLDOUT_SEED, Sample, middles, open_samples


def open_material(data: DataConfig, seed: int, length: int) -> Dataset[Sample[str]]:
    """Open the samples of all but what is held out. Raises RecipeError for empty folders, lists and pools."""
    return PoolSamples(data, seed, length) if data.pool.shards else open_samples(data, seed, length)


def held_out(data: DataConfig) -> list[tuple[Tensor, Tensor]]:
    """Return low and high of what is held out, each (3, H, W) in [-1, 1], the same on every call.

    With a pool, its kinds of damage take turns by their probabilities. Raises RecipeError when nothing can be used.
    """
    if not data.pool.shards or not data.holdout:
        return samples.held_out(data)
    pairs = []
    kinds = spread(data.pool.mixture, data.holdout)
    for number, (image, kind) in enumerate(zip(middles(find_sources(data)[1], data), kinds, strict=False)):
        high = image[: HIGH_PX // 4 * 4, : HIGH_PX // 4 * 4]
        low = damage(high, kind, 4, np.random.default_rng((HOLDOUT_SEED, number)))
        pairs.append((to_tensor([enlarge(low, *high.shape[:2])])[0], to_tensor([high])[0]))
    return pairs


def spread(mixture: dict[str, float], count: int) -> list[str]:
    """Return `count` kinds whose shares are those of the mixture, as evenly mixed as they can be."""
    places = (np.arange(count) + 0.5) / count
    ends = np.cumsum(list(mixture.values()))
    drawn = [list(mixture)[min(int(np.searchsorted(ends, place)), len(mixture) - 1)] for place in places]
    return [drawn[number * 7 % count] if count % 7 else drawn[number] for number in range(count)]
