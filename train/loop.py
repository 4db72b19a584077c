"""Train, read top to bottom: from a recipe to checkpoints, for every model and stage, on one machine or many."""

import math
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor
from torch.distributed.tensor import DTensor

from image_core.errors import OseDiffError
from train.batch import Batch
from train.config import Recipe
from train.data.material import held_out, open_material
from train.data.samples import training_batches
from train.item_random import ItemRandom
from train.progress import Journal, ReportStep, TrainingProgress
from train.schedule import learning_rate_share
from train.stage import build_stage
from train.state import TrainState, read_progress, save_checkpoint, with_starts
from train.validation import Validation


class DivergedError(OseDiffError):
    pass


def run(recipe: Recipe, out: Path, report: ReportStep, deadline: float = math.inf) -> int:
    """Train until `recipe.loop.steps`, going on from the newest checkpoint in `out` if there is one.

    report: told the mean losses, images per second and seconds left. deadline: of time.monotonic(); the first step that
    ends after it is the last, and leaves a checkpoint. Returns the step reached; a finished run takes no time. Raises
    RecipeError for unusable data or a foreign checkpoint, CheckpointError for unusable weights, DivergedError when a
    loss or gradient is not finite, OutputError when a checkpoint cannot be written.
    """
    config = recipe.loop
    AcceleratorState._reset_state(reset_partial_state=True)  # of a run before this one, on another device or precision
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        gradient_accumulation_steps=config.accumulate,
        cpu=config.device == "cpu",
    )
    device, world, rank = accelerator.device, accelerator.num_processes, accelerator.process_index
    per_pass = config.batch * world
    per_step = per_pass * config.accumulate
    saved = read_progress(out, recipe, per_step)
    if saved and saved["step"] >= config.steps:
        return saved["step"]
    samples = open_material(recipe.data, config.seed, config.steps * per_step)
    torch.manual_seed(config.seed)  # new weights are the same in every process
    stage = build_stage(with_starts(recipe, out.parent), device)
    state = TrainState(stage.modules, stage.learning_rates, config, per_step)
    for turn in stage.modules:
        if accelerator.distributed_type == DistributedType.FSDP:  # it cuts memory into rows: not channels last
            stage.modules[turn].to(memory_format=torch.contiguous_format)
        stage.modules[turn], state.optimizers[turn] = accelerator.prepare(stage.modules[turn], state.optimizers[turn])
    state.begin_average()
    if saved:
        state.restore(saved)

    journal = Journal(out, report, silent=not accelerator.is_main_process)
    progress = TrainingProgress(config.steps, per_step, state.step, lambda value: accelerator.reduce(value, "mean"))
    validation = Validation(held_out(recipe.data), device) if config.validate_every or config.sample_every else None
    first_pass = state.step * config.accumulate
    stream = training_batches(samples, config.batch, first_pass, recipe.data.workers, rank, world)
    for number, sample in enumerate(stream, first_pass):
        items = range(number * per_pass + rank * config.batch, number * per_pass + (rank + 1) * config.batch)
        low, high = (frames.flatten(0, 1).to(device, non_blocking=True) for frames in (sample.low, sample.high))
        draws = ItemRandom(config.seed, items, device)
        batch = Batch(low, high, sample.caption, len(low) // config.batch, draws, state.step)
        with accelerator.accumulate(*stage.modules.values()), accelerator.autocast():
            for turn, module in stage.modules.items():
                optimizer = state.optimizers[turn]
                for group in optimizer.param_groups:
                    group["lr"] = stage.learning_rates[turn] * learning_rate_share(state.step, config)
                losses = stage.losses(turn, batch)
                total = torch.stack(list(losses.values())).sum()
                accelerator.backward(total)
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(module.parameters(), config.clip_norm)
                    if isinstance(norm, DTensor):  # of weights in shards
                        norm = norm.full_tensor()
                    if not torch.isfinite(total.detach() + norm):
                        raise DivergedError(keep_batch(out, turn, batch, losses))
                    progress.add({f"{turn}/gradient": norm})
                optimizer.step()
                optimizer.zero_grad()
                progress.add({f"{turn}/{name}": value for name, value in losses.items()})
        if not accelerator.sync_gradients:
            continue
        state.step += 1
        state.update_average()

        if state.step % config.log_every == 0:
            journal.write(progress.tell(state.step))
        if validation:
            with state.averaged():  # in every process, though one writes it down: wrapped modules talk to each other
                if due(state.step, config.validate_every):
                    journal.write({"step": state.step, **stage.scores(validation)})
                if due(state.step, config.sample_every):
                    journal.show(state.step, stage.samples(validation))
        if time.monotonic() >= deadline:
            accelerator.set_trigger()
        late = deadline < math.inf and accelerator.check_trigger()  # in all processes or in none: their clocks differ
        if due(state.step, config.checkpoint_every) or state.step == config.steps or late:
            content = state.content(recipe)
            if accelerator.is_main_process:
                save_checkpoint(content, out, config.keep)
        if late:
            break
    journal.close()
    accelerator.wait_for_everyone()  # whoever reads the checkpoint next finds it
    return state.step


def due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def keep_batch(out: Path, turn: str, batch: Batch, losses: Mapping[str, Tensor]) -> str:
    """Save what broke the run, and report it."""
    path = out / f"diverged-step-{batch.step:08d}.pt"
    values = {name: float(value.detach()) for name, value in losses.items()}
    torch.save({"low": batch.low.cpu(), "high": batch.high.cpu(), "captions": batch.captions, "losses": values}, path)
    text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    return (
        f"step {batch.step}: the loss or gradient of the {turn} is not finite ({text}); the batch is in {path}. Lower "
        "the learning rate, or set loop.precision = 'float32'; the last checkpoint is sound"
    )
