"""Give a restored image the colours of its input: AdaIN (means and deviations) or wavelet (low frequencies).

Images are (B, 3, H, W) in [-1, 1], on any device. As in the published OSEDiff, after StableSR,
https://arxiv.org/abs/2305.07015, section 3.4. Both act the same on [0, 1] and [-1, 1], but for AdaIN's epsilon.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.device.transfer import upload

WAVELET_LEVELS = 5
EPSILON = 4e-5
"""On variances: 1e-5 in the published code, which works on [0, 1]; twice the range is four times the variance."""


class Statistics(NamedTuple):
    """Hold mean and standard deviation of each channel over the image, both (B, 3, 1, 1)."""

    mean: Tensor
    std: Tensor


class ColorStats(NamedTuple):
    """Hold how statistics change before an image is given them, by channel.

    shift: in parts of white. gain: a factor.
    """

    shift: tuple[float, ...]
    gain: tuple[float, ...]


def channel_statistics(image: Tensor, epsilon: float = EPSILON) -> Statistics:
    variance, mean = torch.var_mean(image, dim=(2, 3), keepdim=True)
    return Statistics(mean, (variance + epsilon).sqrt())


def match_statistics(image: Tensor, own: Statistics, target: Statistics) -> Tensor:
    """Shift and stretch every channel from its `own` statistics to the `target`'s."""
    return (image - own.mean) / own.std * target.std + target.mean


def adain(image: Tensor, reference: Tensor, tones: Sequence[ColorStats] | None = None) -> Tensor:
    """Give `image` the channel means and deviations of `reference`, which may have another size.

    tones: one for each image, how those are changed first.
    """
    target = channel_statistics(reference)
    if tones is not None:
        changes = upload([np.array(tone, np.float32) for tone in tones], image.device)
        shift, gain = changes[..., None, None].unbind(1)
        target = Statistics(target.mean + 2 * shift, target.std * gain)  # white is two above black here
    return match_statistics(image, channel_statistics(image), target)


def wavelet(image: Tensor, reference: Tensor) -> Tensor:
    """Keep the detail of `image` over the low frequencies of `reference`. Same size."""
    return image - low_frequencies(image) + low_frequencies(reference)


def low_frequencies(image: Tensor) -> Tensor:
    """Return what five a-trous levels of a 3 x 3 binomial filter leave, (B, 3, H, W)."""
    row = image.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(row, row).expand(3, 1, 3, 3)
    for level in range(WAVELET_LEVELS):
        step = 2**level
        padded = F.pad(image, (step, step, step, step), mode="replicate")
        image = F.conv2d(padded, kernel, groups=3, dilation=step)
    return image
