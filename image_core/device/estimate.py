"""Estimate how long a large model will take here, from how fast this machine multiplies.

Said before the work, not after it.
"""

import time

import torch
from torch.nn import functional as F

UNET_GMAC, ENCODER_GMAC, DECODER_GMAC = 1533, 2130, 4796
"""Of one call of Stable Diffusion's UNet and of its autoencoder, for each million pixels of the output (at 512 px)."""

TINY_DECODER_GMAC = 270
"""Of AutoencoderTiny as published."""

WIDTH, SIDE, ROUNDS = 128, 128, 3


def seconds_per_megapixel(
    device: torch.device, dtype: torch.dtype, autoencoder_dtype: torch.dtype, tiny_decoder: bool = False
) -> float:
    """Return the seconds that a million output pixels will take about."""
    speed = gmac_per_second(device, dtype)
    other = speed if autoencoder_dtype == dtype else gmac_per_second(device, autoencoder_dtype)
    decoder = TINY_DECODER_GMAC if tiny_decoder else DECODER_GMAC
    return UNET_GMAC / speed + (ENCODER_GMAC + decoder) / other


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
