"""Captions as what the UNet attends to."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from image_core.prompts.text import TextEncoder

Words = Callable[[Sequence[str]], Tensor]
"""Captions (B) to embeddings (B, L, D)."""

REMEMBERED = 1024  # captions; 0.3 MB each in the full model


def no_words(width: int, device: torch.device) -> Words:
    """The embedded model reads no captions: all are the same (B, 1, D) zeros."""
    return lambda captions: torch.zeros(len(captions), 1, width, device=device)


def read_words(base: Path, device: torch.device) -> Words:
    """The text encoder of the base, frozen. Raises CheckpointError."""
    encoder = TextEncoder(base, device)

    @lru_cache(REMEMBERED)
    def read(caption: str) -> Tensor:
        return encoder.encode([caption]).cpu()

    # outside inference mode a copy is an ordinary tensor, which autograd may keep
    return lambda captions: torch.cat([read(caption) for caption in captions]).to(device, copy=True)
