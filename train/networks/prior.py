"""The prior of the embedded model: a small diffusion model of clean block latents, what Stable Diffusion is to the
full one. It predicts epsilon at every noise level, DDPM (https://arxiv.org/abs/2006.11239), equation 14.
"""

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from train.networks.lite import BlockLatent


class Prior(nn.Module):
    """unet: predicts the noise in a latent. latent: the space it lives in, kept with it."""

    def __init__(self, unet: UNet2DConditionModel, latent: BlockLatent) -> None:
        super().__init__()
        self.unet, self.latent = unet, latent

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """noisy: (B, C, h, w). timesteps: (B,). Returns the noise, (B, C, h, w)."""
        return self.unet(noisy, timesteps, self.no_words(len(noisy), noisy)).sample

    def no_words(self, batch: int, like: Tensor) -> Tensor:
        """The embedded model reads no prompts: (batch, 1, D) zeros."""
        return like.new_zeros(batch, 1, self.unet.config.cross_attention_dim)
