"""Export a training run to what `upscale` takes, and to the published layout, with its provenance inside."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from image_core.autoencoder import LiteAutoencoder
from image_core.bundle import Bundle, BundleConfig, save_config
from image_core.errors import OutputError
from image_core.models.official import import_official
from image_core.models.official_layout import OfficialWeights, write_official
from image_core.models.write_bundle import write_bundle
from train.config import Recipe, RecipeError
from train.networks.adapters import adapters_below
from train.networks.lite import build_generator
from train.networks.restorer import Restorer
from train.state import averaged, load_partial, read_run

LITE_SUMMARY = (
    "Small, faithful and quick; runs anywhere and invents no texture. For the full model: osediff models pull sd21."
)
SD21_SUMMARY = "OSEDiff, trained with this program: invents plausible detail; wants a GPU."
PATHS = (
    ("data", "folder"),
    ("data", "clips"),
    ("data", "latent"),
    ("loss", "lpips_backbone"),
    ("sd21", "base"),
    ("start", "generator"),
    ("start", "prior"),
)
LITE_LICENCE = "Apache-2.0"
SD21_LICENCE = "Stable Diffusion 2.1-base: CreativeML Open RAIL++-M"


def export_run(run: Path, recipe: Recipe, out: Path, commit: str = "", card: Mapping[str, Any] | None = None) -> Path:
    """Write the averaged weights of a run folder (or checkpoint) as a bundle, or as `out` ending in .pkl.

    recipe: of the run; its base must still be there. commit: of the code that trained it. card: more to keep, such as
    a table of measurements. Raises RecipeError for a run that trained no generator, OutputError if `out` exists.
    """
    check_export(recipe, out)
    content = read_run(run)
    weights = averaged(content)
    facts = provenance(recipe, content, commit) | dict(card or {})
    if recipe.model == "lite":
        return _lite_bundle(recipe, weights, out, facts).path
    official = official_weights(weights)
    if out.suffix == ".pkl":
        write_official(official, out, facts)
        return out
    return _sd21_bundle(recipe, official, out, facts)


def check_export(recipe: Recipe, out: Path) -> None:
    """Refuse what cannot be exported, which is known before the training.

    Raises RecipeError for a recipe without a generator or of another layout, OutputError where `out` cannot be written.
    """
    if recipe.stage == "prior":
        raise RecipeError(f"{recipe.name}: the stage 'prior' trains no generator; its result is used as start.prior")
    if recipe.model == "lite" and out.suffix == ".pkl":
        raise RecipeError(f"{out}: the published layout is of the full model; export the lite one as a bundle")
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it or choose another name")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{out.absolute().parent}: no such folder; create it first")


def _sd21_bundle(recipe: Recipe, weights: OfficialWeights, out: Path, card: dict[str, Any]) -> Path:
    """Export through the importer, so that what it checks is checked; then record in the bundle where it comes from."""
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it or choose another name for the bundle")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        pickle = Path(folder) / f"{recipe.name}.pkl"
        write_official(weights, pickle, card)
        imported = import_official(Path(recipe.sd21.base), pickle, Path(folder) / "bundle", merge=False)
        card = {**imported.config.card, "summary": SD21_SUMMARY, **card}
        config = dataclasses.replace(imported.config, name=recipe.name, licence=SD21_LICENCE, card=card)
        save_config(imported.path, config)
        imported.path.rename(out)
    return out


def provenance(recipe: Recipe, content: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """Record what made these weights. Paths are shortened to their last part: they are of one machine only."""
    settings = dataclasses.asdict(recipe)
    for section, key in PATHS:
        settings[section][key] = Path(settings[section][key]).name
    settings["data"]["lists"] = [Path(name).name for name in recipe.data.lists]
    return {
        "data": recipe.data.licence,
        "recipe": settings,
        "seed": recipe.loop.seed,
        "commit": commit,
        "samples_seen": content["step"] * content["items_per_step"],
    }


def official_weights(tensors: dict[str, Tensor]) -> OfficialWeights:
    """Collect the published layout's weights from the trained tensors of a `Restorer` of the full model."""
    unet, vae = "generator.unet.", "generator.autoencoder.vae."
    base = f"{unet}conv_in.base_layer."
    conv_in = {key.removeprefix(base): tensor for key, tensor in tensors.items() if key.startswith(base)}
    return OfficialWeights(conv_in, adapters_below(tensors, unet), adapters_below(tensors, vae))


def _lite_bundle(recipe: Recipe, weights: dict[str, Tensor], out: Path, card: dict[str, Any]) -> Bundle:
    generator = build_generator(recipe.lite)
    load_partial(Restorer(generator), weights, "checkpoint")
    config = BundleConfig(
        name=recipe.name,
        autoencoder="lite",
        timestep=generator.timestep,
        alpha_bar=generator.alpha_bar,
        latent_scale=1.0,
        color_fix="none",
        prompts=("",),
        licence=LITE_LICENCE,
        card={"summary": LITE_SUMMARY, **card},
    )
    generator.half()
    assert isinstance(generator.autoencoder, LiteAutoencoder)
    prompt = torch.zeros(1, 1, recipe.lite.prompt_width)
    return write_bundle(out, config, autoencoder=generator.autoencoder, unet=generator.unet, prompts=[prompt])
