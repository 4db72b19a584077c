"""What each loss brings to the embedded model: pixel loss alone, + features, + VSD. Prints one JSON line a row.

python -m benchmarks.quality.ablation --data IMAGES --prior RUN --out RUNS [--steps 600] [--start lite]

All rows train the same generator for as many steps on the same items, one recipe apart. "features": matched in a patch
discriminator trained beside it, which stands in for LPIPS where its ImageNet weights cannot be had. Scores: means over
the held-out images (the last 20 by name), light and heavy degradation. psnr_y, ssim_y, gradient: as in
osediff_video/metrics/image.py. grid: as in lite_quality. critic, teacher: mean error of the predicted noise on the
generator's latents at t = 20 to 500; VSD has something to say once the critic's is the lower. Side-by-sides go to
docs/models/ablation. Every run resumes.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.quality import lite_quality
from benchmarks.quality.lite_quality import COLUMNS
from image_core.images import to_images
from train.config import DataConfig, LoopConfig, LossConfig, Recipe, StartConfig, VsdConfig
from train.data.samples import held_out
from train.item_random import ItemRandom
from train.loop import run
from train.losses import vsd
from train.losses.vsd import Score
from train.schedule import alpha_bars
from train.start import build_lite, load_prior
from train.state import averaged, find_checkpoint, load_partial, read_run

PIXEL = LossConfig(pixel="mse", latent=0.0, balance=True)
VSD = VsdConfig(weight=0.3, guidance=1.0, high=500, critic_learning_rate=2e-4)
ROWS: dict[str, tuple[LossConfig, VsdConfig]] = {
    "mse": (PIXEL, VsdConfig()),
    "mse + features": (dataclasses.replace(PIXEL, adversarial=0.05, feature_matching=0.5), VsdConfig()),
    "mse + vsd": (PIXEL, VSD),
    "mse + features + vsd": (dataclasses.replace(PIXEL, adversarial=0.05, feature_matching=0.5), VSD),
}
SHOWN = (0, 5, 12)
CROP_PX = 192


def recipe_of(name: str, arguments: argparse.Namespace) -> Recipe:
    loss, distillation = ROWS[name]
    return Recipe(
        name=name,
        start=StartConfig(generator=arguments.start, prior=str(arguments.prior)),
        data=DataConfig(
            folder=str(arguments.data), turns=True, mixture={"light": 0.7, "medium": 0.25, "heavy": 0.05}, workers=0
        ),
        loss=loss,
        vsd=distillation,
        loop=LoopConfig(
            steps=arguments.steps,
            batch=arguments.batch,
            learning_rate=1e-4,
            warmup_steps=20,
            weight_decay=1e-4,
            ema=0.99,
            precision="bf16",
            device=arguments.device,
            checkpoint_every=50,
        ),
    )


def images(recipe: Recipe, content: dict[str, Any] | None) -> dict[str, list[np.ndarray]]:
    """Low, result and high of every held-out image, light then heavy. content: None is the start of all rows."""
    prior = load_prior(Path(recipe.start.prior))
    restorer = build_lite(recipe, prior.latent, prior)
    if content:
        load_partial(restorer, averaged(content), recipe.name)
    actual: dict[str, list[np.ndarray]] = {"low": [], "result": [], "high": []}
    for preset in ("light", "heavy"):
        for low, high in held_out(dataclasses.replace(recipe.data, mixture={preset: 1.0})):
            with torch.no_grad():
                result = restorer(low[None], torch.zeros(1, 1, recipe.lite.prompt_width))[1]
            for name, tensor in (("low", low[None]), ("result", result), ("high", high[None])):
                actual[name] += to_images(tensor, np.uint8)
    return actual


def scores(results: list[np.ndarray], references: list[np.ndarray]) -> dict[str, float]:
    half = len(results) // 2
    row: dict[str, float] = {}
    for preset, part in (("light", slice(None, half)), ("heavy", slice(half, None))):
        pairs = zip(results[part], references[part], strict=True)
        means = np.mean([lite_quality.scores(result, reference) for result, reference in pairs], axis=0)
        row |= {f"{preset}_{name}": round(float(mean), 4) for name, mean in zip(COLUMNS, means, strict=True)}
    return row


@torch.no_grad()
def critic_and_teacher(recipe: Recipe, content: dict[str, Any]) -> dict[str, float]:
    """Errors on latents that the trained generator makes of held-out images."""
    prior = load_prior(Path(recipe.start.prior))
    restorer = build_lite(recipe, prior.latent, prior)
    load_partial(restorer, content["modules"]["generator"], recipe.name)
    score = Score(prior.unet, recipe.vsd.critic)
    load_partial(score, content["modules"]["critic"], recipe.name)
    errors: dict[str, list[float]] = {"critic": [], "teacher": []}
    for number, (low, _) in enumerate(held_out(recipe.data)):
        words = torch.zeros(1, 1, recipe.lite.prompt_width)
        clean = restorer(low[None], words)[0]
        for timestep in range(20, 500, 40):
            noise = ItemRandom(0, [number], clean.device).normal(f"check/{timestep}", clean.shape[1:])
            level = torch.tensor([timestep])
            noisy = vsd.add_noise(clean, noise, alpha_bars()[level])
            for name, adapted in (("critic", True), ("teacher", False)):
                errors[name].append(float(F.mse_loss(score(noisy, level, words, adapted=adapted), noise)))
    return {name: round(float(np.mean(values)), 5) for name, values in errors.items()}


def show(columns: dict[str, dict[str, list[np.ndarray]]], folder: Path) -> None:
    """Crops of some images, a column a row of the table, between the enlarged input and the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(columns.values()))
    for index in SHOWN:
        row = [first["low"][index], *(column["result"][index] for column in columns.values()), first["high"][index]]
        top, left = ((side - CROP_PX) // 2 for side in row[0].shape[:2])
        tiles = [np.ascontiguousarray(p[top : top + CROP_PX, left : left + CROP_PX]) for p in row]
        for tile, name in zip(tiles, ["enlarged", *columns, "truth"], strict=True):
            cv2.putText(tile, name, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (255, 255, 0), 1, cv2.LINE_AA)
        sheet = cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"light_{index:02d}.jpg"), sheet, [cv2.IMWRITE_JPEG_QUALITY, 92])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prior", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="lite")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    arguments = parser.parse_args()
    start = images(recipe_of("mse", arguments), None)
    columns = {"start": start}
    print(json.dumps({"row": "enlarged (bicubic)", **scores(start["low"], start["high"])}), flush=True)
    print(json.dumps({"row": "start", "model": arguments.start, **scores(start["result"], start["high"])}), flush=True)
    prior_steps = read_run(arguments.prior)["step"]
    for name in arguments.rows:
        recipe, folder = recipe_of(name, arguments), arguments.out / name.replace(" + ", "-")
        began = time.monotonic()
        run(recipe, folder, lambda messages: print("#", {k: round(v, 5) for k, v in messages.items()}, flush=True))
        file = find_checkpoint(folder)
        assert file is not None
        content = read_run(file)
        columns[name] = images(recipe, content)
        row: dict[str, Any] = {"row": name, "steps": content["step"], "batch": arguments.batch}
        row |= {"prior_steps": prior_steps, "minutes": round((time.monotonic() - began) / 60, 1)}
        row |= scores(columns[name]["result"], start["high"])
        if recipe.vsd.weight:
            row |= critic_and_teacher(recipe, content)
        print(json.dumps(row), flush=True)
        if arguments.rows == list(ROWS):
            show(columns, Path(__file__).parent.parent.parent / "docs" / "models" / "ablation")


if __name__ == "__main__":
    main()
