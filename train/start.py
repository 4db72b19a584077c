"""Build the generator of a run, and the prior, from what the recipe says they start from."""

import copy
from pathlib import Path

import torch
from torch import nn

from image_core.autoencoder import LATENT_PX
from image_core.generator import Generator, KLAutoencoder
from image_core.lora import add_lora, unet_targets, vae_targets
from image_core.models.base import check_base, load_unet, load_vae
from image_core.models.catalogue import find_model
from image_core.models.load import load_generator
from image_core.models.official_layout import read_official
from train.config import LiteShape, Recipe, RecipeError, Sd21Config
from train.networks.adapters import set_adapters
from train.networks.lite import BlockLatent, build_generator, build_unet, start_from_blocks
from train.networks.prior import Prior
from train.networks.restorer import Restorer
from train.recipe import build
from train.state import averaged, load_partial, read_run

BLOCK = 3 * LATENT_PX**2


def build_sd21(config: Sd21Config, start: str = "") -> Restorer:
    """Build the full model: LoRA on VAE encoder and UNet, conv_in whole, the decoder frozen; 4.44 M parameters learn.

    start: weights in the published layout (osediff.pkl), or an earlier run; else A is Gaussian and B zero.
    Raises CheckpointError for a base or weights that are missing, damaged, foreign, or for a base that predicts v.
    """
    base = Path(config.base)
    facts = check_base(base)
    unet, vae = load_unet(base), load_vae(base)
    for part in (unet, vae):
        part.requires_grad_(False).train()  # no dropout in either; checkpointing works in training mode alone
    unet.conv_in.requires_grad_(True)
    published = read_official(Path(start), unet, vae) if start.endswith(".pkl") else None
    if published:
        unet.conv_in.load_state_dict(published.conv_in)
    add_lora(unet, [name for names in unet_targets(unet).values() for name in names])
    add_lora(vae, vae_targets(vae))
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        vae.enable_gradient_checkpointing()
    restorer = Restorer(Generator(KLAutoencoder(vae, facts.latent_scale), unet, facts.alpha_bar, facts.timestep))
    if published:
        set_adapters(unet, published.unet)
        set_adapters(vae, published.vae)
    elif start:
        _start_from_run(restorer, Path(start))
    return restorer


def build_lite(recipe: Recipe, latent: BlockLatent, prior: Prior | None) -> Restorer:
    """Build the embedded model: all of it learns, in the stage "autoencoder" all but the UNet.

    It starts as what passes the block latent through; with the UNet of the prior, its last layer at zero; or as
    `recipe.start.generator`, a bundle or an earlier run. Raises RecipeError when that has another shape.
    """
    generator = build_generator(recipe.lite)
    start_from_blocks(generator, latent)
    if prior is not None:
        generator.unet = copy.deepcopy(prior.unet).requires_grad_(True)
        nn.init.zeros_(generator.unet.conv_out.weight)
        nn.init.zeros_(generator.unet.conv_out.bias)
    restorer = Restorer(generator, use_unet=recipe.stage != "autoencoder")
    if start := recipe.start.generator:
        is_run = any(Path(start).glob("step-*.pt")) or Path(start).suffix == ".pt"
        _start_from_run(restorer, Path(start)) if is_run else _start_from_bundle(restorer, start)
    generator.unet.requires_grad_(restorer.use_unet)
    return restorer.to(memory_format=torch.channels_last)


def _start_from_run(restorer: Restorer, run: Path) -> None:
    content = read_run(run)
    if "generator" not in content["modules"]:
        raise RecipeError(f"{run}: a run of the stage {content['recipe']['stage']!r}, which trains no generator")
    load_partial(restorer, averaged(content), str(run))


def _start_from_bundle(restorer: Restorer, name: str) -> None:
    bundle = find_model(name)
    if bundle.config.autoencoder != "lite" or bundle.config.timestep != restorer.generator.timestep:
        actual = f"a {bundle.config.autoencoder!r} model at t = {bundle.config.timestep}"
        raise RecipeError(f"{name}: {actual}; the recipe trains a 'lite' one at {restorer.generator.timestep}")
    source = load_generator(bundle).state_dict()
    load_partial(restorer, {f"generator.{key}": tensor for key, tensor in source.items()}, name)


def load_prior(path: Path) -> Prior:
    """Load the averaged prior of a run folder or checkpoint, frozen. Raises RecipeError."""
    content = read_run(path)
    if (stage := content["recipe"]["stage"]) != "prior":
        raise RecipeError(f"{path}: a run of the stage {stage!r}; start.prior needs one of the stage 'prior'")
    shape = build(LiteShape, content["recipe"]["lite"], f"{path}: lite")
    channels = shape.latent_channels
    prior = Prior(build_unet(shape), BlockLatent(torch.zeros(channels, BLOCK), torch.zeros(BLOCK)))
    load_partial(prior, averaged(content), str(path))
    return prior.requires_grad_(False)
