"""How much goes through the model at once, and what to do when memory does not suffice."""

from dataclasses import dataclass, replace

import psutil
import torch

from image_core.autoencoder import LATENT_PX
from image_core.errors import OutOfMemoryError

SMALLEST_TILE_PX = 256
MAX_BATCH, MAX_BATCH_CPU = 8, 1  # on a CPU one image keeps every core busy; eight took 1.8 times as long each


@dataclass(frozen=True)
class Workload:
    """How much goes through the model at once. tile_px: None is whole images."""

    batch: int
    tile_px: int | None

    def lighter(self, height: int, width: int) -> "Workload":
        """Half the batch, then tiles, then smaller tiles. Raises OutOfMemoryError at the end of the ladder."""
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        current = self.tile_px or max(height, width)
        if current <= SMALLEST_TILE_PX:
            raise OutOfMemoryError(
                f"an image of {width} x {height} does not fit in memory even in tiles of {current} px; "
                "close other programs, use a smaller --scale, or --device cpu"
            )
        return replace(self, tile_px=max(SMALLEST_TILE_PX, current // 2 // LATENT_PX * LATENT_PX))


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors on `device` may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
