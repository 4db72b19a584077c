"""Make an image as the authors' test code does, so that results can be held against those of the OSEDiff paper.

What differs from `Upscaler`, in order: an image with a side below 512 px / scale is enlarged to it and stays so large;
sides are cut to multiples of 8 by a second resize; the latent is one draw from the encoder's distribution, here with a
seed; the UNet sees large latents in tiles, with Gaussian weights on the noise it predicts; 8 bits are made by rounding
down, before the colour fix and after it.

The VAE takes the image whole as long as memory allows. Theirs tiles what is larger than 1088 px (its decoder: 1968 px),
which no image of the paper's sets is.

OSEDiff, https://arxiv.org/abs/2406.08177, and its published test_osediff.py.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from image_core.autoencoder import LATENT_PX
from image_core.color import channel_statistics, match_statistics, wavelet
from image_core.device.memory import Workload
from image_core.device.precision import check_result
from image_core.errors import CheckpointError
from image_core.generator import Unsure, predict_clean
from image_core.images import ImageArray, to_eight_bit, to_tensor
from image_core.network_pass import DECODING_BEGINS
from image_core.options import AsPublished
from image_core.tiling import starts
from image_core.upscaler import Upscaler

TILE, OVERLAP = 96, 32
"""Of the UNet, in latent positions."""

VARIANCE = 0.01
"""Of the weights within a tile, whose side is one."""

EPSILON = 1e-5
"""Added to variances by their AdaIN, on images from 0 to 1."""


def upscale_as_published(
    upscaler: Upscaler, image: ImageArray, wish: AsPublished, embedding: Tensor | None = None
) -> ImageArray:
    """Upscale one image as the authors' test code does; 16 bits become 8. The same seed gives the same result.

    embedding: (1, L, D), in place of the tags that the model's tagger finds.

    Returns (H', W', 3) of uint8; see `prepare` for its size. Raises ValueError for settings that the authors' code does
    not have, CheckpointError for a model of another kind, OutOfMemoryError.
    """
    wish.check(upscaler.options)
    check_model(upscaler, embedding)
    enlarged = prepare(to_eight_bit(image), round(upscaler.options.scale), wish.process_px)
    guide = to_tensor([enlarged]).to(upscaler.device)
    text = upscaler.embedding_for(guide) if embedding is None else embedding
    generator, (height, width) = upscaler.generator, enlarged.shape[:2]
    cells = (1, generator.unet.config.in_channels, height // LATENT_PX, width // LATENT_PX)
    drawn = torch.randn(cells, generator=torch.Generator().manual_seed(wish.seed)).to(upscaler.device)

    @torch.inference_mode()
    def work(load: Workload) -> Tensor:
        network = upscaler.network(load)

        def encode(tile: Tensor, noise: Tensor) -> Tensor:
            return generator.encode_draw(tile, noise).float()

        def predict(tile: Tensor) -> Tensor:
            return generator.predict_noise(tile, text)

        latent = network.tiled(encode, [(guide, LATENT_PX), (drawn, 1)], 1)
        noise = noise_in_tiles(predict, latent, lambda share: network.progress(DECODING_BEGINS * share))
        result = network.decoded(predict_clean(latent, noise, generator.alpha_bar), guide)
        check_result(result)
        return result.cpu()

    result = upscaler.within_memory(work, (height, width))
    return with_colors_of(enlarged, round_down(result / 2 + 0.5), upscaler.options.color_fix)


def check_model(upscaler: Upscaler, embedding: Tensor | None = None) -> None:
    """Refuse a model that is not of the published kind. Raises CheckpointError."""
    name = upscaler.identity.split(" ")[0]
    if not isinstance(upscaler.generator.autoencoder, Unsure):
        raise CheckpointError(
            f"the model {name} is not the published one: its encoder has nothing to draw from; use a model of the kind "
            "sd21 (osediff models pull sd21 --tagger), or leave --as-published out"
        )
    if embedding is None and upscaler.prompter is None:
        raise CheckpointError(
            f"the model {name} has no tagger, by which the published code describes every image; make a model that has "
            "one: osediff models pull sd21 --tagger, or import with --tagger"
        )


def prepare(image: ImageArray, scale: int, process_px: int = AsPublished.process_px) -> ImageArray:
    """Resize an image of uint8 as the authors do, by PIL's bicubic filter.

    Returns an array whose sides divide by 8, `scale` times as large but for what is cut off that; or larger, if a side
    of the image is below `process_px` / `scale`.
    """
    picture, least = Image.fromarray(image), process_px // scale
    if min(picture.size) < least:
        factor = least / min(picture.size)
        picture = picture.resize((int(factor * picture.width), int(factor * picture.height)))
    picture = picture.resize((picture.width * scale, picture.height * scale))
    width, height = (side - side % LATENT_PX for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


def noise_in_tiles(
    predict: Callable[[Tensor], Tensor], latent: Tensor, progress: Callable[[float], None] = lambda _: None
) -> Tensor:
    """Predict the noise of a latent tile by tile, weighted by a Gaussian; at once where it has no more than TILE².

    latent: (1, C, h, w). progress: called with the share that is done.
    """
    rows, columns = latent.shape[-2:]
    if rows * columns <= TILE**2:
        return predict(latent)
    side = min(TILE, rows, columns)
    overlap = min(OVERLAP, side // 2)  # theirs never ends on less than OVERLAP rows
    weight = gaussian(side).to(latent.device)
    total, weights = torch.zeros_like(latent), torch.zeros_like(latent)
    places = [(top, left) for left in starts(columns, side, overlap) for top in starts(rows, side, overlap)]
    for done, (top, left) in enumerate(places, 1):
        place = (..., slice(top, top + side), slice(left, left + side))
        total[place] += predict(latent[place]) * weight
        weights[place] += weight
        progress(done / len(places))
    return total / weights


def gaussian(side: int) -> Tensor:
    """Return the weights of a tile, (side, side). Their middle lies half a row below that of the tile, as theirs."""
    position = torch.arange(side, dtype=torch.float64)
    row, column = (
        torch.exp(-(((position - middle) / side) ** 2) / (2 * VARIANCE)) for middle in (side / 2, side / 2 - 0.5)
    )
    return (torch.outer(row, column) / (2 * torch.pi * VARIANCE)).float()


def with_colors_of(enlarged: ImageArray, result: ImageArray, fix: str) -> ImageArray:
    """Return a result with the colours of its input, both of uint8. fix: adain or wavelet; "auto" is adain."""
    if fix == "none":
        return result
    image, reference = (torch.tensor(one).permute(2, 0, 1)[None] / 255 for one in (result, enlarged))
    if fix == "wavelet":
        return round_down(wavelet(image, reference))
    own, target = channel_statistics(image, EPSILON), channel_statistics(reference, EPSILON)
    return round_down(match_statistics(image, own, target))


def round_down(image: Tensor) -> ImageArray:
    """Return an image (1, 3, H, W) from 0 to 1 as levels of 8 bit, (H, W, 3), each rounded down."""
    return image[0].clamp(0, 1).mul(255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
