"""Judge where an image is degraded from the image alone: how much of the model's work each place needs.

Two neighbouring octaves of detail are compared. In a sharp image they hold about as much energy, since natural
images have a spectrum of 1/f; blur takes the finer one away, noise and grain fill it. With Y the luma and B_s the
3 x 3 binomial filter with holes of s:

    fine = mean (Y - B_1 Y)^2    coarse = mean (B_1 Y - B_2 B_1 Y)^2    rho = log2((fine + e) / (coarse + e))
    degradation = max(clip((-0.25 - rho) / 1.25), clip((rho - 1.5) / 1))    clipped to [0, 1]

Means are over 17 x 17 pixels of the input; e, the energy of half a level of 8 bit, keeps empty areas at 0. Measured on
8 Kodak images at a quarter of their size, the median of rho is 0.5; 1.2 with Gaussian noise of 8 levels (more than
2.5 where it shows most, in flat areas); -1.3, -2.1 and -2.5 after blur of sigma 0.7, 1 and 1.5. On the 20 images of
RealSR it is -1.2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX
from image_core.images import ImageArray, pad_to_multiple, to_tensor
from image_core.options import UpscaleOptions

WINDOW_PX = 17
BLURRED_BELOW, BLURRED_OCTAVES = -0.25, 1.25
NOISY_ABOVE, NOISY_OCTAVES = 1.5, 1.0
HALF_LEVEL = 0.5 * 2 / 255


def degradation(image: Tensor) -> Tensor:
    """Judge how degraded each place of an image is.

    image: as it came, before it is enlarged, (B, 3, H, W) in [-1, 1]. Returns (B, 1, H, W): 0 is sharp and clean.
    """
    luma = torch.einsum("bchw,c->bhw", image, image.new_tensor((0.299, 0.587, 0.114)))[:, None]
    once = smooth(luma, 1)
    fine, coarse = (energy(detail) + HALF_LEVEL**2 for detail in (luma - once, once - smooth(once, 2)))
    rho = (fine / coarse).log2()
    blurred, noisy = (BLURRED_BELOW - rho) / BLURRED_OCTAVES, (rho - NOISY_ABOVE) / NOISY_OCTAVES
    return torch.maximum(blurred, noisy).clamp(0, 1)


def shares(
    images: Sequence[ImageArray], size: tuple[int, int], options: UpscaleOptions, least_px: int
) -> Tensor | None:
    """Return how much of the model's work each latent position gets: the strength, times the degradation if adaptive.

    images: as they came. size: height and width of the output; the plane of latents covers at least least_px.
    Returns (B, 1, h, w) in [0, 1], or None for all of it everywhere.
    """
    if options.strength == 1 and not options.adaptive:
        return None
    image = to_tensor(images)
    local = options.strength * (degradation(image) if options.adaptive else torch.ones_like(image[:, :1]))
    large = F.interpolate(local, size, mode="bilinear", align_corners=False)
    return F.avg_pool2d(pad_to_multiple(large, LATENT_PX, least_px), LATENT_PX)


def smooth(plane: Tensor, step: int) -> Tensor:
    """Apply the binomial filter with holes of `step`, (B, 1, H, W)."""
    row = plane.new_tensor((0.25, 0.5, 0.25))
    padded = F.pad(plane, (step, step, step, step), mode="replicate")
    return F.conv2d(padded, torch.outer(row, row)[None, None], dilation=step)


def energy(detail: Tensor) -> Tensor:
    """Return the local mean of the square, (B, 1, H, W)."""
    return F.avg_pool2d(detail.square(), WINDOW_PX, 1, WINDOW_PX // 2, count_include_pad=False)
