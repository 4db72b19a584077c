"""Which embedded model to train for long: short runs of candidates on the same items. One JSON line for each.

python -m benchmarks.quality.lite_candidates --data IMAGES --kodak FOLDER --realsr FOLDER --out RUNS [--prior RUN]

All start from random weights and the block latent, one change apart, and see as many samples. Scored on three sets, as
in lite_quality, and on the training images that are kept out (light degradation), by which to choose. Every run
resumes; a candidate that is finished is only scored.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import train.networks.restorer
from benchmarks.quality.lite_quality import flickers, read_sets, table
from benchmarks.quality.methods import Method, with_upscaler
from image_core.generator import Generator, set_precision
from image_core.models.load import BYTES_PER_PIXEL, choose_dtype
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.workflow.bench import COUNTED_PX, gmac
from train.config import DataConfig, LiteShape, LoopConfig, LossConfig, Recipe, StartConfig
from train.data.samples import held_out
from train.loop import run
from train.networks.lite import build_generator
from train.networks.restorer import Restorer
from train.state import averaged, load_partial, read_run
from train.validation import Validation

MIXTURE = {"light": 0.4, "medium": 0.2, "heavy": 0.25, "video": 0.15}
SHAPES = {
    "base": LiteShape(),
    "prior start": LiteShape(),
    "t = 999": LiteShape(timestep=999),
    "decoder sees the latent alone": LiteShape(),
    "16 latent channels": LiteShape(latent_channels=16),
    "48 latent channels": LiteShape(latent_channels=48),
    "decoder 96 wide, 3 blocks": LiteShape(decoder_width=96, decoder_blocks=3),
    "decoder 48 wide, 10 blocks": LiteShape(decoder_width=48, decoder_blocks=10),
    "UNet of 96, 128, 160; decoder of 5 blocks": LiteShape(widths=(96, 128, 160), decoder_blocks=5),
    "UNet of 48, 64, 96; decoder of 7 blocks": LiteShape(widths=(48, 64, 96), decoder_blocks=7),
}


def recipe_of(name: str, arguments: argparse.Namespace) -> Recipe:
    return Recipe(
        name=name,
        start=StartConfig(prior=str(arguments.prior) if name == "prior start" else ""),
        lite=SHAPES[name],
        data=DataConfig(folder=str(arguments.data), turns=True, mixture=MIXTURE),
        loss=LossConfig(pixel="charbonnier", latent=0.02),
        loop=LoopConfig(
            steps=arguments.steps,
            batch=32,
            learning_rate=5e-4,
            schedule="cosine",
            warmup_steps=50,
            weight_decay=1e-4,
            ema=0.99,
            precision="bf16",
            device=arguments.device,
            checkpoint_every=100,
        ),
    )


class Nothing(nn.Module):
    """In place of the layer by which the decoder looks at the enlarged image; the sum at its end stays."""

    def forward(self, blocks: Tensor) -> Tensor:
        return torch.zeros((), dtype=blocks.dtype, device=blocks.device)


def blind(shape: LiteShape) -> Generator:
    generator = build_generator(shape)
    generator.autoencoder.from_image = Nothing()  # type: ignore[attr-defined]
    return generator


BUILDERS = {"decoder sees the latent alone": blind}


def trained(recipe: Recipe, folder: Path) -> tuple[Restorer, Method]:
    """The averaged model, as it is trained and as it is used."""
    content = read_run(folder)
    builder = BUILDERS.get(recipe.name, build_generator)
    restorer, used = Restorer(builder(recipe.lite)), builder(recipe.lite)
    load_partial(restorer, averaged(content), str(folder))
    used.load_state_dict(restorer.generator.state_dict())
    dtype = choose_dtype("auto", torch.device("cpu"), used.alpha_bar)
    set_precision(used.eval().to(memory_format=torch.channels_last), dtype)  # type: ignore[call-overload]
    text = torch.zeros(1, 1, recipe.lite.prompt_width, dtype=dtype)
    return restorer, with_upscaler(Upscaler(used, text, UpscaleOptions(), bytes_per_pixel=BYTES_PER_PIXEL["lite"]))


def score(recipe: Recipe, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    restorer, method = trained(recipe, folder)
    data = dataclasses.replace(recipe.data, mixture={"light": 1.0})
    text = torch.zeros(1, 1, recipe.lite.prompt_width)
    kept_out = Validation(held_out(data), torch.device("cpu"))
    result = kept_out.scores(lambda low: restorer(low, text)[1].clamp(-1, 1))
    row: dict[str, Any] = {
        "parameters": sum(p.numel() for p in restorer.parameters()),
        "gmac_per_megapixel": round(sum(gmac(restorer.generator).values()) / COUNTED_PX**2 * 1e6, 1),
        "kept_out": {name: round(value, 4) for name, value in result.items()},
    }
    for kind, pairs in read_sets(arguments.kodak, arguments.realsr).items():
        row[kind] = table({"model": method}, pairs)["model"]
    return row | flickers({"model": method}, arguments.kodak)["model"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--data", "--kodak", "--realsr", "--out"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--prior", type=Path, help="needed for the candidate that starts from it")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--device", choices=("auto", "cpu"), default="cpu")
    parser.add_argument("--candidates", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    arguments = parser.parse_args()
    if "prior start" in arguments.candidates and arguments.prior is None:
        parser.error("the candidate 'prior start' needs --prior")
    for name in arguments.candidates:
        recipe, folder = recipe_of(name, arguments), arguments.out / name.replace(" ", "-").replace(",", "")
        began = time.monotonic()
        with patch.object(train.networks.restorer, "build_generator", BUILDERS.get(name, build_generator)):
            run(recipe, folder, lambda messages: print("#", {k: round(v, 5) for k, v in messages.items()}, flush=True))
        minutes = round((time.monotonic() - began) / 60, 1)
        row = {"candidate": name, "samples": recipe.loop.steps * recipe.loop.batch, "minutes": minutes}
        print(json.dumps(row | score(recipe, folder, arguments)), flush=True)


if __name__ == "__main__":
    main()
