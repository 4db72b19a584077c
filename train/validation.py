"""Measure the model on images that it does not learn from."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from image_core.errors import CheckpointError
from image_core.images import crop, pad_to_multiple, to_images
from image_core.perceptual import load_lpips
from osediff_video.metrics.image import luma, psnr, ssim

SHOWN = 4
Pair = tuple[Tensor, Tensor]


Restore = Callable[[Tensor], Tensor]
"""From (B, 3, H, W) in [-1, 1], enlarged, sides multiples of 64, to the like."""


class Validation:
    """Score held-out images.

    pairs: (low, high), each (3, H, W) in [-1, 1], low already enlarged.
    """

    def __init__(self, pairs: Sequence[Pair], device: torch.device) -> None:
        self.pairs, self.device = pairs, device
        self.lpips = _lpips_if_here()

    @torch.no_grad()
    def scores(self, restore: Restore) -> dict[str, float]:
        """Return mean PSNR and SSIM on luma (osediff_video/metrics/image.py), and LPIPS (Alex) if it has weights."""
        rows = []
        for low, high in self.pairs:
            result = self._restore(restore, low)
            (a,), (b,) = to_images(result[None], np.uint8), to_images(high[None], np.uint8)
            row = {"psnr": psnr(luma(a), luma(b)), "ssim": ssim(luma(a), luma(b))}
            if self.lpips is not None:
                row["lpips"] = float(self.lpips(result[None], high[None]))
            rows.append(row)
        return {f"held_out/{name}": sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    @torch.no_grad()
    def shown(self, restore: Restore) -> list[list[Tensor]]:
        """Return low, result and high of the first few."""
        return [[low, self._restore(restore, low), high] for low, high in self.pairs[:SHOWN]]

    def _restore(self, restore: Restore, low: Tensor) -> Tensor:
        padded = pad_to_multiple(low[None], 64).to(self.device)
        return crop(restore(padded).cpu(), *low.shape[-2:])[0]


def _lpips_if_here() -> nn.Module | None:
    try:
        return load_lpips("alex")
    except CheckpointError:
        return None
