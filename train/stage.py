"""Define a stage: it holds modules and computes their losses; the loop does the rest."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from image_core.models.base import load_unet
from image_core.perceptual import load_lpips
from image_core.storage.tensors import read_safetensors
from train.batch import Batch
from train.config import LossConfig, Recipe, RecipeError
from train.data.samples import training_images
from train.generator_stage import GeneratorStage, Parts
from train.losses.discriminator import PatchDiscriminator
from train.losses.shift_tolerant import load_shift_tolerant
from train.losses.vsd import Score
from train.networks.captions import caption_encoder, empty_captions
from train.networks.lite import BlockLatent, block_basis, build_unet
from train.networks.prior import Prior
from train.prior_stage import PriorStage
from train.schedule import alpha_bars
from train.start import BLOCK, build_lite, build_sd21, load_prior
from train.state import load_partial
from train.validation import Validation


class Stage(Protocol):
    """Hold what learns, and compute its losses.

    modules: what learns, by turn, in the order of the turns of a step. The loop puts wrapped ones in their place,
    and `losses` calls them through this dictionary alone.
    """

    modules: dict[str, nn.Module]
    learning_rates: dict[str, float]

    def losses(self, turn: str, batch: Batch) -> dict[str, Tensor]:
        """Return scalars whose sum is this turn's loss. Later turns of a step use what earlier ones left in `batch`."""

    def scores(self, validation: Validation) -> dict[str, float]:
        """Score the model on held-out images, by names that begin with "held_out/"."""

    def samples(self, validation: Validation) -> list[list[Tensor]]:
        """Return low, result and high of some held-out images, each (3, H, W) in [-1, 1]."""


def build_stage(recipe: Recipe, device: torch.device) -> Stage:
    """Build the modules of a recipe on `device`, with all that its losses need.

    Raises CheckpointError for unusable weights, RecipeError for unusable images or runs, before any work is done.
    """
    if recipe.model == "sd21":
        return GeneratorStage(recipe, _sd21_parts(recipe, device))
    if recipe.stage == "prior":
        prior = Prior(build_unet(recipe.lite), block_latent(recipe))
        return PriorStage(prior.to(device, memory_format=torch.channels_last), recipe.loop.learning_rate)  # type: ignore[call-overload]
    return GeneratorStage(recipe, _lite_parts(recipe, device))


def _sd21_parts(recipe: Recipe, device: torch.device) -> Parts:
    base = Path(recipe.sd21.base)
    parts = Parts(
        restorer=build_sd21(recipe.sd21, recipe.start.generator).to(device),
        captions=caption_encoder(base, device),
        alpha_bars=alpha_bars().to(device),
    )
    if recipe.vsd.weight:
        parts.score = Score(load_unet(base), recipe.vsd.critic, recipe.vsd.shared).to(device)
        if recipe.sd21.gradient_checkpointing:
            parts.score.unet.train().enable_gradient_checkpointing()
    return _with_judges(parts, recipe, device)


def _lite_parts(recipe: Recipe, device: torch.device) -> Parts:
    prior = load_prior(Path(recipe.start.prior)) if recipe.start.prior else None
    latent = prior.latent if prior else block_latent(recipe)
    if latent.weight.shape[0] != recipe.lite.latent_channels:
        has, expected = latent.weight.shape[0], recipe.lite.latent_channels
        raise RecipeError(f"start.prior has {has} latent channels, lite.latent_channels is {expected}")
    parts = Parts(
        restorer=build_lite(recipe, latent, prior).to(device),
        captions=empty_captions(recipe.lite.prompt_width, device),
        alpha_bars=alpha_bars().to(device),
        latent=latent.to(device) if recipe.loss.latent else None,
    )
    if prior is not None and recipe.vsd.weight:
        parts.score = Score(prior.unet, recipe.vsd.critic, recipe.vsd.shared).to(
            device,
            memory_format=torch.channels_last,  # type: ignore[call-overload]
        )
    return _with_judges(parts, recipe, device)


def _with_judges(parts: Parts, recipe: Recipe, device: torch.device) -> Parts:
    """Add the networks that look at images."""
    loss = recipe.loss
    if loss.lpips:
        parts.lpips = load_perceptual(loss).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if loss.adversarial or loss.feature_matching:
        parts.discriminator = PatchDiscriminator().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return parts


def load_perceptual(loss: LossConfig) -> nn.Module:
    """Load the distance that the recipe names. Raises CheckpointError where its weights are not on this machine."""
    if loss.lpips_network == "st-alex":
        return load_shift_tolerant("alex")
    return load_lpips(loss.lpips_network, Path(loss.lpips_backbone) if loss.lpips_backbone else None)


def block_latent(recipe: Recipe) -> BlockLatent:
    """Return the block latent of the recipe's own training images: the same for every stage on the same data.

    Or that of `data.latent`, a file with its state. Raises CheckpointError, RecipeError for one that does not fit.
    """
    channels = recipe.lite.latent_channels
    if not recipe.data.latent:
        return BlockLatent(*block_basis(training_images(recipe.data), channels))
    latent = BlockLatent(torch.zeros(channels, BLOCK), torch.zeros(BLOCK))
    load_partial(latent, read_safetensors(Path(recipe.data.latent)), recipe.data.latent)
    return latent
