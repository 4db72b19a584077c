"""From a training run to a bundle that `upscale` takes, with its provenance inside."""

import copy
import dataclasses
from pathlib import Path

import torch

from image_core.autoencoder import LiteAutoencoder
from image_core.bundle import Bundle, BundleConfig, write_bundle
from image_core.generator import Generator
from train.config import Recipe
from train.state import TrainState

SUMMARY = "Small, faithful and quick; runs anywhere and invents no texture. For the full model: osediff models import."


def export_lite(state: TrainState, recipe: Recipe, path: Path, commit: str, **card: object) -> Bundle:
    """Write the averaged weights in half precision as the bundle `path`, which must not exist yet.

    commit: of the code that trained it. card: more to keep, such as a table of measurements.
    """
    generator = state.average
    assert isinstance(generator, Generator) and isinstance(generator.autoencoder, LiteAutoencoder)
    settings = dataclasses.asdict(recipe)
    settings["data"]["folder"] = Path(recipe.data.folder).name  # the path is of one machine only
    config = BundleConfig(
        name=recipe.model.name,
        autoencoder="lite",
        timestep=generator.timestep,
        alpha_bar=float(generator.alpha_bar),
        latent_scale=1.0,
        color_fix="none",
        prompts=("",),
        licence="Apache-2.0",
        card={
            "summary": SUMMARY,
            "data": recipe.data.licence,
            "recipe": settings,
            "seed": recipe.loop.seed,
            "commit": commit,
            "samples_seen": state.step * recipe.loop.batch,
            **card,
        },
        files={},
    )
    # copies: the run may go on
    autoencoder, unet = (copy.deepcopy(part).half() for part in (generator.autoencoder, generator.unet))
    prompt = torch.zeros(1, 1, recipe.model.prompt_width)
    return write_bundle(path, config, autoencoder=autoencoder, unet=unet, prompts=[prompt])
