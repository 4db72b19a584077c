"""Define the prior of the embedded model: a small diffusion model of clean block latents.

What Stable Diffusion is to the full model. It predicts epsilon at every noise level, DDPM
(https://arxiv.org/abs/2006.11239), equation 14.
"""

from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from train.networks.lite import BlockLatent


class Prior(nn.Module):
    """Predict the noise in clean block latents.

    unet: predicts the noise in a latent. latent: the space it lives in, kept with it.
    """

    def __init__(self, unet: UNet2DConditionModel, latent: BlockLatent) -> None:
        super().__init__()
        self.unet, self.latent = unet, latent

    def forward(self, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Predict the noise.

        noisy: (B, C, h, w). timesteps: (B,). Returns the noise, (B, C, h, w).
        """
        return self.unet(noisy, timesteps, self.no_words(len(noisy), noisy)).sample

    def no_words(self, batch: int, like: Tensor) -> Tensor:
        """Return (batch, 1, D) zeros: the embedded model reads no prompts."""
        return like.new_zeros(batch, 1, self.unet.config.cross_attention_dim)
