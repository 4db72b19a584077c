"""Define the small encoder and decoder of the embedded model.

The roles of the VAE of Stable Diffusion at 1 % of its work.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from image_core.images import strips

LATENT_PX = 8
"""Pixels along each side of one latent position."""


def clamped(image: Tensor) -> Tensor:
    """Clamp to [-1, 1] in place, but infinity becomes NaN: it is no white, and who looks for numbers shall find it."""
    in_strips = image.device.type == "cpu" and not image.requires_grad
    for rows in strips(*image.shape[-2:]) if in_strips else (slice(None),):
        part = image[..., rows, :]
        nothing = part - part
        part.clamp_(-1, 1).add_(nothing)
    return image


@dataclass(frozen=True)
class LiteAutoencoderConfig:
    """Hold the widths of the embedded autoencoder. skip_px: the decoder works on a grid of this many pixels a side."""

    latent_channels: int = 32
    encoder_width: int = 64
    encoder_blocks: int = 2
    decoder_width: int = 64
    decoder_blocks: int = 6
    skip_px: int = 4


class ResidualBlock(nn.Module):
    """Add two 3x3 convolutions to the identity; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.silu(self.conv1(x), inplace=True)).add_(x)


class LiteAutoencoder(nn.Module):
    """Encode blocks of 8 x 8 pixels to latents and decode them.

    Deterministic, convolutional, any size that is a multiple of 8.

    The latent is a linear projection of the block plus a
    learned correction. The decoder also sees the enlarged image and adds what it is missing: the input's low
    frequencies pass untouched.
    """

    decoder_sees_image = encodes_noisy = True

    def __init__(self, config: LiteAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        block = 3 * LATENT_PX**2
        self.projection = nn.Conv2d(block, config.latent_channels, 1)
        self.encoder = nn.Sequential(
            nn.Conv2d(block, config.encoder_width, 1),
            *(ResidualBlock(config.encoder_width) for _ in range(config.encoder_blocks)),
            nn.Conv2d(config.encoder_width, config.latent_channels, 1),
        )
        self.growth = LATENT_PX // config.skip_px
        patch, width = 3 * config.skip_px**2, config.decoder_width
        self.from_latent = nn.Conv2d(config.latent_channels, width * self.growth**2, 3, padding=1)
        self.from_image = nn.Conv2d(patch, width, 3, padding=1)
        self.decoder = nn.Sequential(*(ResidualBlock(width) for _ in range(config.decoder_blocks)))
        self.to_patch = nn.Conv2d(width, patch, 3, padding=1)

    def encode(self, image: Tensor) -> Tensor:
        """Encode an image.

        image: (B, 3, H, W) in [-1, 1], H and W multiples of 8. Returns (B, C, H/8, W/8), about unit variance.
        """
        blocks = F.pixel_unshuffle(image, LATENT_PX)
        return self.projection(blocks) + self.encoder(blocks)

    def decode(self, latent: Tensor, image: Tensor) -> Tensor:
        """Decode a latent.

        latent: (B, C, h, w), clean. image: the enlarged image, (B, 3, 8h, 8w). Returns the image in [-1, 1].
        """
        return clamped(self.decode_unclamped(latent, image))

    def decode_unclamped(self, latent: Tensor, image: Tensor) -> Tensor:
        """Decode without the clamp, which would stop gradients in training."""
        features = self.features(latent, image)
        for block in self.decoder:  # called as a whole, it would keep the first features to the end
            features = block(features)
        detail = F.pixel_shuffle(self.to_patch(features), self.config.skip_px)
        # float32 sum: the image must not be rounded to half precision on its way through the skip
        return detail.mul_(0.1).to(image.dtype).add_(image)

    def features(self, latent: Tensor, image: Tensor) -> Tensor:
        """Return what the decoder begins with, of both, on its grid."""
        features = F.pixel_shuffle(self.from_latent(latent), self.growth)
        return features.add_(self.from_image(F.pixel_unshuffle(image.to(features.dtype), self.config.skip_px)))
