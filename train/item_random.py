"""Draw every random choice of a step from the seed and the number of the item alone.

So there is no random state to save: a resumed run draws what it would have drawn, and a batch shared by two
processes draws what one process would.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class ItemRandom:
    """Draw random numbers of a batch.

    items: numbers of the items of this batch. Each has its own generator for each purpose.
    """

    def __init__(self, seed: int, items: Sequence[int], device: torch.device) -> None:
        self.seed, self.items, self.device = seed, items, device

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers, (B, *shape), float32."""
        drawn = [torch.randn(tuple(shape), generator=generator) for generator in self._generators(purpose)]
        return torch.stack(drawn).to(self.device)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """Return uniform integers in [low, high), (B,), int64."""
        drawn = [torch.randint(low, high, (), generator=generator) for generator in self._generators(purpose)]
        return torch.stack(drawn).to(self.device)

    def _generators(self, purpose: str) -> list[torch.Generator]:
        # on the CPU, whatever the device: the same numbers everywhere
        word = zlib.crc32(purpose.encode())
        seeds = (np.random.SeedSequence((self.seed, word, item)).generate_state(1, np.uint64)[0] for item in self.items)
        return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
