"""Measure how far a result can be trusted, pixel by pixel: the spread of several results that were equally possible.

What is drawn depends on the model.
"posterior": its encoder says how sure it is of the latent (the VAE of Stable Diffusion): draws from that distribution,
    as the published OSEDiff makes one at every run.
"noise": its encoder is deterministic (lite): noise of the size that was measured in the input is added to the input
    once more, never less than the error of rounding to its depth, 0.29 levels. Where the spread is large, the result
    hangs on what the input's noise happened to be.
Both say how much the result depends on chance. Neither says that what all draws agree on is true.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX
from image_core.device.memory import Workload
from image_core.generator import Unsure
from image_core.images import (
    ImageArray,
    Values,
    enlarge,
    enlarge_values,
    peak,
    scaled_size,
    to_tensor,
    values_to_tensor,
)
from image_core.options import Draws
from image_core.upscaler import Size, Upscaler

NOISE_BLOCK_PX = 8
FLAT_SHARE = 0.1
"""Of the blocks: those with the least detail show the noise."""

FLATTEST_SHOWS = 0.79
"""What the tenth of blocks that answers least shows of white noise that is the same everywhere (measured)."""


@dataclass(frozen=True)
class Spread:
    """Hold a map of uncertainty.

    levels: standard deviation over the draws, root mean square of the channels, (H, W), in levels of 255.

    kind: what was drawn. noise_levels: size of the noise that was added to the input, None for draws of the posterior.
    """

    levels: NDArray[np.float32]
    kind: Literal["posterior", "noise"]
    noise_levels: float | None = None

    def __str__(self) -> str:
        what = "of the model's posterior"
        if self.noise_levels is not None:
            what = f"with noise of {self.noise_levels:.2f} levels, as the input has, added to it"
        middle, high = np.quantile(self.levels, (0.5, 0.99))
        return f"spread over draws {what}: median {middle:.2f}, 99 % below {high:.2f} levels of 255"


def spread(
    upscaler: Upscaler, image: ImageArray, draws: Draws, size: Size | None = None, embedding: Tensor | None = None
) -> Spread:
    """Run the model once for each draw. image: (H, W, 3) as it came. The same seed gives the same map.

    size: of the output, instead of the upscaler's scale. embedding: (1, L, D), where the upscaler is not to choose.
    Raises OutOfMemoryError.
    """
    size = size or scaled_size(image.shape[0], image.shape[1], upscaler.options.scale)
    enlarged = enlarge(image, *size)
    embedding = upscaler.embedding_for(to_tensor([enlarged])) if embedding is None else embedding
    unsure = isinstance(upscaler.generator.autoencoder, Unsure)
    sigma = None if unsure else noise_level(image)
    source = torch.Generator().manual_seed(draws.seed)
    mean = squares = torch.zeros(())
    for number in range(1, draws.count + 1):
        result = one_draw(upscaler, image, enlarged, embedding, sigma, source)
        before = result - mean
        mean = mean + before / number
        squares = squares + before * (result - mean)
    variance = (squares / (draws.count - 1)).mean(1)[0]
    return Spread((variance.sqrt() * 127.5).numpy(), "posterior" if unsure else "noise", sigma)


def one_draw(
    upscaler: Upscaler,
    image: ImageArray,
    enlarged: ImageArray,
    embedding: Tensor,
    sigma: float | None,
    source: torch.Generator,
) -> Tensor:
    """Return a result before it is rounded, (1, 3, H, W) in [-1, 1], on the CPU."""
    white, size = peak(image), (enlarged.shape[0], enlarged.shape[1])
    if sigma is None:
        guide = to_tensor([enlarged])
        cells = tuple(side // LATENT_PX for side in upscaler.padded(guide).shape[-2:])
        channels = upscaler.generator.unet.config.in_channels
        drawn: Tensor | None = torch.randn((1, channels, *cells), generator=source)
    else:
        # the noise is enlarged as the image is
        noise = torch.randn(image.shape, generator=source).numpy() * (sigma * white / 255)
        values: Values = enlarged.astype(np.float32) + enlarge_values(noise.astype(np.float32), *size)
        guide, drawn = values_to_tensor(values, white), None

    @torch.inference_mode()
    def work(load: Workload) -> Tensor:
        padded = upscaler.padded(guide)
        share = upscaler.shares_of([image], size)
        latent = upscaler.network(load).clean_latent(padded, embedding, share, drawn)
        return upscaler.finished(latent, padded, size, None, load).float().clamp(-1, 1).cpu()

    return upscaler.within_memory(work, size)


def noise_level(image: ImageArray) -> float:
    """Estimate the standard deviation of an image's noise in levels of 255, at least that of rounding to its depth.

    The filter of Immerkaer (1996, "Fast noise variance estimation"), which no plane and no straight ramp passes, where
    the image is flattest: the tenth of its blocks of 8 x 8 that answer least, without those that are clipped.
    """
    white = peak(image)
    rounding = 255 / white / 12**0.5
    if min(image.shape[:2]) < NOISE_BLOCK_PX + 2:
        return rounding
    values = to_tensor([image])[0][:, None] * 127.5
    kernel = values.new_tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
    answer = F.avg_pool2d(F.conv2d(values, kernel).abs(), NOISE_BLOCK_PX)
    brightest = F.max_pool2d(values[..., 1:-1, 1:-1].abs(), NOISE_BLOCK_PX)
    known = answer[brightest < 127.5 - 0.5]
    if not len(known):
        return rounding
    return max(rounding, float(torch.quantile(known, FLAT_SHARE)) * (torch.pi / 2) ** 0.5 / 6 / FLATTEST_SHOWS)
