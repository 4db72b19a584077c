"""Encode captions as what the UNet attends to."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from image_core.prompts.text_encoder import TextEncoder

CaptionEncoder = Callable[[Sequence[str]], Tensor]
"""Captions (B) to embeddings (B, L, D)."""

REMEMBERED = 1024  # captions; 0.3 MB each in the full model


def empty_captions(width: int, device: torch.device) -> CaptionEncoder:
    """Return (B, 1, D) zeros: the embedded model reads no captions."""
    return lambda captions: torch.zeros(len(captions), 1, width, device=device)


def caption_encoder(base: Path, device: torch.device) -> CaptionEncoder:
    """Return the text encoder of the base, frozen. Raises CheckpointError."""
    encoder = TextEncoder(base, device)

    @lru_cache(REMEMBERED)
    def read(caption: str) -> Tensor:
        return encoder.encode([caption]).cpu()

    # outside inference mode a copy is an ordinary tensor, which autograd may keep
    return lambda captions: torch.cat([read(caption) for caption in captions]).to(device, copy=True)
