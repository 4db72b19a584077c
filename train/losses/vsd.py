"""Compute variational score distillation in the latent, as OSEDiff does (https://arxiv.org/abs/2406.08177, 3.3).

A frozen diffusion model, the teacher, says where natural images lie; a copy of it with LoRA, the critic, learns where
the generator's images lie. The generator follows the difference. After ProlificDreamer, https://arxiv.org/abs/2305.16213.
"""

import copy
from typing import Protocol

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.lora import add_lora, unet_targets
from train.networks.adapters import adapters_off

SMALLEST_DISTANCE = 1e-4  # of a latent of about unit variance: keeps the weight finite where teacher and latent agree


class NoisePredictor(Protocol):
    """Predict noise in latents (B, C, h, w) at timesteps (B,), embeddings (B, L, D). adapted: by the critic."""

    def __call__(self, noisy: Tensor, timesteps: Tensor, embedding: Tensor, *, adapted: bool) -> Tensor: ...


class Score(nn.Module):
    """Hold teacher and critic on one base, which is frozen here.

    layers: "all" puts the critic's LoRA on every layer; "mid" on the middle block and the few layers outside the
    others, the only ones that the published code happens to train. shared: one UNet, its adapters switched, which
    halves the memory; else the teacher is a copy. Both give the same numbers.
    """

    def __init__(self, base: UNet2DConditionModel, layers: str = "all", shared: bool = True) -> None:
        super().__init__()
        base.requires_grad_(False)
        self.teacher = None if shared else copy.deepcopy(base)
        groups = unet_targets(base)
        add_lora(base, groups["others"] if layers == "mid" else [name for names in groups.values() for name in names])
        self.unet = base

    def forward(self, noisy: Tensor, timesteps: Tensor, embedding: Tensor, *, adapted: bool) -> Tensor:
        if adapted:
            return self.unet(noisy, timesteps, embedding).sample
        if self.teacher is not None:
            return self.teacher(noisy, timesteps, embedding).sample
        with adapters_off(self.unet):
            return self.unet(noisy, timesteps, embedding).sample


def add_noise(clean: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Run the forward process. clean, noise: (B, C, h, w). alpha_bar: (B,), share of signal power left."""
    share = alpha_bar.view(-1, 1, 1, 1)
    return share.sqrt() * clean + (1 - share).sqrt() * noise


def remove_noise(noisy: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return the clean latent that a predicted noise stands for, in float32: the inverse of `add_noise`."""
    share = alpha_bar.view(-1, 1, 1, 1)
    return (noisy.float() - (1 - share).sqrt() * noise.float()) / share.sqrt()


def guided(
    score: NoisePredictor, noisy: Tensor, timesteps: Tensor, embedding: Tensor, negative: Tensor, guidance: float
) -> Tensor:
    """Return the teacher's noise, led away from the negative prompt (classifier-free guidance); 1 is without."""
    if guidance == 1:
        return score(noisy, timesteps, embedding, adapted=False)
    twice = score(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), torch.cat([negative, embedding]), adapted=False)
    away, towards = twice.float().chunk(2)
    return away + guidance * (towards - away)


def distillation_gradient(latent: Tensor, teacher: Tensor, critic: Tensor) -> Tensor:
    """Return where VSD pushes: (critic - teacher) / mean |latent - teacher|, the mean over all but the batch.

    latent: what the generator made. teacher, critic: the clean latents that these two see in its noised version.
    All (B, C, h, w), float32; so is the result.
    """
    distance = (latent - teacher).abs().mean((1, 2, 3), keepdim=True)
    return (critic - teacher) / distance.clamp_min(SMALLEST_DISTANCE)


def loss_of_gradient(latent: Tensor, gradient: Tensor) -> Tensor:
    """Return a scalar whose gradient on `latent` is 2 `gradient` / numel. Its value need not fall in training."""
    return F.mse_loss(latent, (latent - gradient).detach())


def generator_loss(
    score: NoisePredictor,
    latent: Tensor,
    *,
    noise: Tensor,
    timesteps: Tensor,
    alpha_bars: Tensor,
    embedding: Tensor,
    negative: Tensor,
    guidance: float,
) -> Tensor:
    """Compute VSD for the generator.

    latent: clean, (B, C, h, w), with gradient. noise: like it. timesteps: (B,), each in [20, 980) in the paper.
    alpha_bars: (1000,). text, negative: (B, L, D). Teacher and critic get no gradient.
    """
    with torch.no_grad():
        share = alpha_bars[timesteps]
        noisy = add_noise(latent, noise, share)
        teacher = remove_noise(noisy, guided(score, noisy, timesteps, embedding, negative, guidance), share)
        critic = remove_noise(noisy, score(noisy, timesteps, embedding, adapted=True), share)
        gradient = distillation_gradient(latent.float(), teacher, critic)
    return loss_of_gradient(latent.float(), gradient)


def critic_loss(
    score: NoisePredictor, latent: Tensor, *, noise: Tensor, timesteps: Tensor, alpha_bars: Tensor, embedding: Tensor
) -> Tensor:
    """Return the critic's error of predicting noise in the generator's latents. latent gets no gradient."""
    latent = latent.detach()
    prediction = score(add_noise(latent, noise, alpha_bars[timesteps]), timesteps, embedding, adapted=True)
    return F.mse_loss(prediction.float(), noise.float())
