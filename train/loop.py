"""Train the embedded model with pixel losses: from a recipe to a checkpoint, read top to bottom."""

import copy
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from image_core.autoencoder import LiteAutoencoder
from image_core.generator import Generator
from train.config import LoopConfig, Recipe
from train.data import batches, open_samples, training_pictures
from train.lite import BlockLatent, block_basis, build_generator, start_from_blocks
from train.losses import charbonnier
from train.state import TrainState

Report = Callable[[dict[str, float]], None]


def run(recipe: Recipe, out: Path, report: Report) -> TrainState:
    """Train until `recipe.loop.steps`, resuming from `out` if it holds a checkpoint; `report` gets one line at a time.

    Returns the final state; its `average` is the result. Raises RecipeError for unusable data or a foreign checkpoint.
    """
    config = recipe.loop
    torch.manual_seed(config.seed)
    samples = open_samples(recipe.data, config.seed, config.steps * config.batch)
    target = BlockLatent(*block_basis(training_pictures(recipe.data), recipe.model.latent_channels))
    generator = build_generator(recipe.model).to(memory_format=torch.channels_last)
    start_from_blocks(generator, target)
    optimizer = torch.optim.AdamW(generator.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    state = TrainState(generator, copy.deepcopy(generator).requires_grad_(False), optimizer)
    settings = dataclasses.asdict(recipe)
    state.resume(out, settings)

    text = torch.zeros(1, 1, recipe.model.prompt_width)  # the embedded model reads no words
    started, first, running = time.monotonic(), state.step, torch.zeros(2)
    for sample in batches(samples, config.batch, state.step, recipe.data.workers):
        low, high = sample.low.flatten(0, 1), sample.high.flatten(0, 1)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * schedule(state.step, config)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            clean, picture = forward(generator, low, text)
        pixel = charbonnier(picture.float(), high)
        latent = (clean.float() - target(high)).abs().mean()
        optimizer.zero_grad()
        (pixel + config.latent_weight * latent).backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), config.clip_norm)
        optimizer.step()
        state.step += 1
        update_average(state, config.ema)

        running += torch.stack([pixel.detach(), latent.detach()])
        if state.step % config.log_every == 0:
            rate = (state.step - first) / (time.monotonic() - started)
            pixel_mean, latent_mean = (running / config.log_every).tolist()
            report(
                {
                    "step": state.step,
                    "pixel": pixel_mean,
                    "latent": latent_mean,
                    "pictures_per_s": rate * config.batch,
                    "eta_s": (config.steps - state.step) / rate,
                }
            )
            running.zero_()
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            state.save(out, settings)
    return state


def forward(generator: Generator, low: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """The clean latent and the picture before its clamp, which would stop gradients at white and black."""
    assert isinstance(generator.autoencoder, LiteAutoencoder)
    clean = generator.denoise(generator.encode(low), text)
    return clean, generator.autoencoder.decode_unclamped(clean, low)


def schedule(step: int, config: LoopConfig) -> float:
    """Share of the learning rate at `step`: up in a line, then down along a cosine to 1 %."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))


@torch.no_grad()
def update_average(state: TrainState, decay: float) -> None:
    """Move the average towards the model, faster in the first steps, when the start should be forgotten."""
    decay = min(decay, (1 + state.step) / (10 + state.step))
    for average, current in zip(state.average.parameters(), state.model.parameters(), strict=True):
        average.lerp_(current, 1 - decay)
