"""Run the OSEDiff generator: encode the enlarged image, one UNet call, decode. Knows nothing of files, tiles or time.

OSEDiff, https://arxiv.org/abs/2406.08177.
"""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from image_core.autoencoder import clamped
from image_core.small_unet import SmallUNet

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel


class Autoencoder(Protocol):
    """Encode images to latents of an eighth of their size and back.

    decoder_sees_image: the decoder looks at the enlarged image too. encodes_noisy: its latents are scaled as if noise
    were to be removed, by sqrt(alpha_bar).
    """

    decoder_sees_image: bool
    encodes_noisy: bool

    def encode(self, image: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor, image: Tensor) -> Tensor: ...


@runtime_checkable
class Unsure(Protocol):
    """Encode images with an encoder that gives a distribution."""

    def encode_draw(self, image: Tensor, noise: Tensor) -> Tensor: ...


class KLAutoencoder(nn.Module):
    """Wrap the VAE of Stable Diffusion.

    latent_scale: brings its latents to about unit variance, 0.18215. tiny_decoder: decodes those in place of the VAE's.
    """

    decoder_sees_image = encodes_noisy = False

    def __init__(self, vae: "AutoencoderKL", latent_scale: float, tiny_decoder: nn.Module | None = None) -> None:
        super().__init__()
        self.vae, self.latent_scale, self.tiny_decoder = vae, latent_scale, tiny_decoder

    def encode(self, image: Tensor) -> Tensor:
        """Encode an image to its latent.

        image: (B, 3, H, W) in [-1, 1], H and W multiples of 8. Returns (B, 4, H/8, W/8).
        """
        # mode(), not sample(): fresh noise on every frame would flicker
        return self.vae.encode(image).latent_dist.mode() * self.latent_scale

    def encode_draw(self, image: Tensor, noise: Tensor) -> Tensor:
        """Encode to the draw from the posterior that standard normal `noise` (B, 4, H/8, W/8) stands for."""
        posterior = self.vae.encode(image).latent_dist
        return (posterior.mean + posterior.std * noise) * self.latent_scale

    def decode(self, latent: Tensor, image: Tensor) -> Tensor:  # noqa: ARG002 - this decoder needs the latent alone
        """Decode a latent.

        latent: (B, 4, h, w), clean. Returns (B, 3, 8h, 8w) in [-1, 1].
        """
        if self.tiny_decoder is not None:
            return clamped(self.tiny_decoder(latent))
        return clamped(self.vae.decode(latent / self.latent_scale).sample)


def predict_clean(noisy: Tensor, noise: Tensor, alpha_bar: float) -> Tensor:
    """Undo the whole noising process in one step.

    noisy, noise: latents, (B, C, h, w). alpha_bar: in (0, 1], share of signal power left at the training timestep.

    Returns the clean latent, (B, C, h, w). Raises ValueError when the shapes differ.
    OSEDiff, one-step generator equation.
    """
    if noisy.shape != noise.shape:
        raise ValueError(f"noisy and noise must match, got {tuple(noisy.shape)} and {tuple(noise.shape)}")
    return (noisy - (1 - alpha_bar) ** 0.5 * noise) / alpha_bar**0.5


class Generator(nn.Module):
    """Super-resolve images with one UNet call.

    timestep, alpha_bar: where on the noise schedule the input is taken to be. The UNet predicts epsilon.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        unet: "UNet2DConditionModel | SmallUNet",
        alpha_bar: float,
        timestep: int = 999,
    ) -> None:
        super().__init__()
        self.autoencoder, self.unet = autoencoder, unet
        self.alpha_bar, self.timestep = alpha_bar, timestep

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        """Restore an enlarged image.

        image: (B, 3, H, W) in [-1, 1], H and W multiples of 8. embedding: (B or 1, L, D). Returns like image.
        """
        return self.decode(self.denoise(self.encode(image), embedding), image)

    def encode(self, image: Tensor) -> Tensor:
        """Encode an enlarged image.

        image: (B, 3, H, W) in [-1, 1]. Returns the latent of the input, (B, C, H/8, W/8).
        """
        return self.autoencoder.encode(image.to(dtype_of(self.autoencoder)))

    def encode_draw(self, image: Tensor, noise: Tensor) -> Tensor:
        """Encode to a draw from the encoder's distribution. noise: standard normal, of the result's shape."""
        assert isinstance(self.autoencoder, Unsure), "a deterministic encoder has nothing to draw from"
        dtype = dtype_of(self.autoencoder)
        return self.autoencoder.encode_draw(image.to(dtype), noise.to(dtype))

    def encode_clean(self, image: Tensor) -> Tensor:
        """Encode a good image.

        image: a good one, (B, 3, H, W) in [-1, 1]. Returns its latent where `denoise` would leave it, float32.
        """
        return self.as_clean(self.encode(image))

    def as_clean(self, latent: Tensor) -> Tensor:
        """Scale a latent as `encode` makes it, in the scale of clean ones, float32.

        What `denoise` leaves of no noise.
        """
        return latent.float() / self.alpha_bar**0.5 if self.autoencoder.encodes_noisy else latent.float()

    def denoise(self, latent: Tensor, embedding: Tensor) -> Tensor:
        """Denoise a latent in one step.

        latent: (B, C, h, w). embedding: (B or 1, L, D). Returns the clean latent in float32, (B, C, h, w).
        """
        # float32: the step divides by sqrt(alpha_bar), 1/14.65 at t = 999, and so multiplies rounding errors
        return predict_clean(latent.float(), self.predict_noise(latent, embedding), self.alpha_bar)

    def predict_noise(self, latent: Tensor, embedding: Tensor) -> Tensor:
        """Predict the noise in a latent, in one pass of the UNet. As `denoise`. Returns float32, (B, C, h, w)."""
        dtype = dtype_of(self.unet)
        embedding = embedding.to(dtype).expand(len(latent), -1, -1)
        return self.unet(latent.to(dtype), self.timestep, embedding).sample.float()

    def denoise_guided(self, latent: Tensor, embedding: Tensor, negative: Tensor, guidance: float) -> Tensor:
        """Denoise while leading away from `negative`, like embedding: two passes of the UNet in one batch.

        Classifier-free guidance, https://arxiv.org/abs/2207.12598: eps_negative + guidance (eps_text - eps_negative).
        """
        dtype = dtype_of(self.unet)
        embeddings = torch.cat([side.to(dtype).expand(len(latent), -1, -1) for side in (negative, embedding)])
        both = torch.cat([latent, latent]).to(dtype)
        away, towards = self.unet(both, self.timestep, embeddings).sample.float().chunk(2)
        return predict_clean(latent.float(), away + guidance * (towards - away), self.alpha_bar)

    def decode(self, latent: Tensor, image: Tensor) -> Tensor:
        """Decode a clean latent.

        latent: (B, C, h, w), clean. image: the enlarged input, (B, 3, 8h, 8w). Returns like image, in [-1, 1].
        """
        return self.autoencoder.decode(latent.to(dtype_of(self.autoencoder)), image)


def dtype_of(network: object) -> torch.dtype:
    """Return the precision that a network computes in; float32 where it has no weights."""
    parameter = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    return torch.float32 if parameter is None else parameter.dtype


class Float32Output(nn.Module):
    """Run the last layer of a half-precision UNet in float32, since the one step amplifies its rounding error."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.float()

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features.float())


def keep_output_float32(unet: "UNet2DConditionModel | SmallUNet") -> None:
    """Make `unet.conv_out` compute and return float32 whatever the rest runs in."""
    unet.conv_out = Float32Output(unet.conv_out)


def set_precision(generator: Generator, dtype: torch.dtype, autoencoder_dtype: torch.dtype | None = None) -> Generator:
    """Cast the weights to `dtype`, but for the last layer of the UNet. Returns the same generator.

    autoencoder_dtype: that of the autoencoder, where it is another.
    """
    generator.to(dtype)  # not by the UNet's own `to`, which warns of what it does not need
    if autoencoder_dtype is not None and isinstance(generator.autoencoder, nn.Module):
        generator.autoencoder.to(autoencoder_dtype)
    if dtype != torch.float32:
        keep_output_float32(generator.unet)
    return generator
