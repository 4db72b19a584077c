"""Estimate how long a large model will take here, from how fast this machine multiplies.

Said before the work, not after it.
"""

import time

import torch
from torch.nn import functional as F

GMAC_PER_MEGAPIXEL = 8457
"""Of Stable Diffusion's autoencoder and one call of its UNet, for each million pixels of the output (at 512 px)."""

WIDTH, SIDE, ROUNDS = 128, 128, 3


def seconds_per_megapixel(device: torch.device, dtype: torch.dtype) -> float:
    """Return the seconds that a million output pixels will take about."""
    return GMAC_PER_MEGAPIXEL / gmac_per_second(device, dtype)


@torch.inference_mode()
def gmac_per_second(device: torch.device, dtype: torch.dtype) -> float:
    """Time a convolution like the model's own, and return the multiplications a second of this machine, in 1e9."""
    image = torch.zeros(1, WIDTH, SIDE, SIDE, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.zeros(WIDTH, WIDTH, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(1 + ROUNDS):  # the first prepares
        started = time.perf_counter()
        F.conv2d(image, weight, padding=1).sum().item()
        best = min(best, time.perf_counter() - started)
    return WIDTH * WIDTH * 9 * SIDE * SIDE / best / 1e9
