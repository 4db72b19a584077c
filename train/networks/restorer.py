"""Wrap the generator as it is trained, in both sizes, as one module."""

import torch
from torch import Tensor, nn

from image_core.autoencoder import LiteAutoencoder
from image_core.generator import Generator, KLAutoencoder, predict_clean


class Restorer(nn.Module):
    """Compute one turn of the generator as one call, so that wrappers see all of it.

    use_unet: False leaves the UNet out, as if it predicted no noise: the stage "autoencoder".
    """

    def __init__(self, generator: Generator, use_unet: bool = True) -> None:
        super().__init__()
        self.generator, self.use_unet = generator, use_unet
        keep_float32(generator.unet.conv_out)

    def forward(self, low: Tensor, embedding: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore one batch.

        low: (B, 3, H, W) in [-1, 1], enlarged. embedding: (B or 1, L, D). noise: (B, 4, H/8, W/8), standard normal,
        for a draw from the posterior of the encoder; None is its mode.

        Returns the clean latent, and the image like `low`. The embedded model's image is not clamped, which would
        stop gradients at white and black; that of the full model is, as published.
        """
        autoencoder = self.generator.autoencoder
        if noise is None:
            latent = autoencoder.encode(low)
        else:
            assert isinstance(autoencoder, KLAutoencoder)
            latent = autoencoder.encode_draw(low, noise)
        if self.use_unet:
            clean = self.generator.denoise(latent, embedding)
        else:
            clean = predict_clean(latent.float(), torch.zeros_like(latent.float()), self.generator.alpha_bar)
        if isinstance(autoencoder, LiteAutoencoder):
            return clean, autoencoder.decode_unclamped(clean, low)
        return clean, self.generator.decode(clean, low)

    @property
    def latent_channels(self) -> int:
        return self.generator.unet.config.in_channels


def keep_float32(layer: nn.Module) -> None:
    """Let `layer` compute in float32 under autocast too: the one step multiplies its rounding by up to 14.65."""
    plain = layer.forward

    def forward(features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return plain(features.float())

    layer.forward = forward  # a wrapper module would rename the weights
