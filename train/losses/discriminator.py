"""Train an adversary from scratch beside the generator: for texture where no pretrained network may judge.

Optional. Patches as in pix2pix (https://arxiv.org/abs/1611.07004), kept in bounds by spectral normalisation
(https://arxiv.org/abs/1802.05957), hinge losses, and the features matched as in pix2pixHD
(https://arxiv.org/abs/1711.11585, eq. 4).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

PATCH_PX = 2


class PatchDiscriminator(nn.Module):
    """Tell real patches from generated ones: one verdict per 8 x 8 pixels. 0.4 M parameters at the default widths.

    It looks at blocks of 2 x 2 pixels: nothing is lost, and the layers at full size, which on a CPU cost more than the
    embedded model itself, are saved.
    """

    def __init__(self, widths: Sequence[int] = (48, 96, 192)) -> None:
        """Build the layers.

        widths: channels by depth; every layer but the first halves the size.
        """
        super().__init__()
        sizes = (3 * PATCH_PX**2, *widths)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4 if depth else 3, 2 if depth else 1, 1))
            for depth, (before, after) in enumerate(zip(sizes, widths, strict=False))
        )
        self.verdict = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge images.

        image: (B, 3, H, W) in [-1, 1], sides of at least 16.

        Returns the verdicts (B, 1, h, w), above 0 for real, and the features of every layer.
        """
        image = F.pixel_unshuffle(image, PATCH_PX)
        features = []
        for layer in self.layers:
            image = F.leaky_relu(layer(image), 0.2)
            features.append(image)
        return self.verdict(image), features


def hinge_discriminator(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Return a scalar: 0 once every verdict on real is above 1 and on fake below -1; 2 when it knows nothing.

    real, fake: (B, 1, h, w). weight: (B,), how much each item counts.
    """
    each = (F.relu(1 - real) + F.relu(1 + fake)).mean((1, 2, 3))
    return (weight * each).sum() / weight.sum().clamp_min(1e-6)


def hinge_generator(fake: Tensor, weight: Tensor) -> Tensor:
    """Return a scalar, unbounded: minus the mean verdict on the generator's images.

    fake: (B, 1, h, w). weight: (B,), how much each item counts.
    """
    return -(weight * fake.mean((1, 2, 3))).mean()


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute difference of the features, layers weighted equally; no gradient reaches `real`."""
    return torch.stack([F.l1_loss(b, a.detach()) for a, b in zip(real, fake, strict=True)]).mean()
