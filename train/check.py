"""Check in seconds whether a recipe would run here: everything that can fail later is tried now."""

import dataclasses
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from train.config import Recipe, RecipeError
from train.data.material import held_out, open_material
from train.loop import run
from train.runs import Run
from train.stage import Stage, build_stage
from train.state import find_checkpoint, read_run, trainable, with_starts

GB = 1e9


def check(runs: Sequence[Run]) -> Iterator[str]:
    """Yield what was found of each, a line at a time: data, weights, memory, disk, and the time of a step.

    A run that starts from one before it, which is not trained yet, starts from the two steps that were tried of that.
    Raises what training would: RecipeError, CheckpointError, OutputError, DivergedError.
    """
    PartialState(cpu=runs[0].recipe.loop.device == "cpu")
    with tempfile.TemporaryDirectory() as own:
        trials = Path(broadcast_object_list([own])[0])  # that of the first process, which writes the checkpoints
        for one in runs:
            if len(runs) > 1:
                yield f"{one.folder.name}:"
            yield from _check_one(one.recipe, one.folder, trials)


def _check_one(recipe: Recipe, out: Path, trials: Path) -> Iterator[str]:
    recipe = with_starts(recipe, out.parent, trials)
    _, high, caption = open_material(recipe.data, recipe.loop.seed, 1)[0]
    yield f"data: items of {high.shape[0]} x {high.shape[-1]} x {high.shape[-2]} px, caption {caption!r}"
    if recipe.loop.validate_every or recipe.loop.sample_every:
        yield f"held out: {len(held_out(recipe.data))} images"
    stage = build_stage(recipe, torch.device("cpu"))
    for name, module in stage.modules.items():
        learnt = sum(p.numel() for p in trainable(module).values())
        whole = sum(p.numel() for p in module.parameters())
        yield f"{name}: {learnt / 1e6:.2f} of {whole / 1e6:.2f} million parameters learn"
    weights, learning = memory(stage, recipe)
    yield f"memory before activations: {weights / GB:.2f} GB of weights, {learning / GB:.2f} GB to move them"
    del stage
    yield from _two_steps(recipe, out, trials / out.name)


def memory(stage: Stage, recipe: Recipe) -> tuple[int, int]:
    """Return the bytes of all weights, and of gradients, AdamW's two moments and the average of those that learn."""
    weights = sum(p.nbytes for module in stage.modules.values() for p in module.parameters())
    learnt = [sum(p.nbytes for p in trainable(module).values()) for module in stage.modules.values()]
    return weights, 3 * sum(learnt) + (learnt[0] if recipe.loop.ema else 0)


def _two_steps(recipe: Recipe, out: Path, trial: Path) -> Iterator[str]:
    vsd = dataclasses.replace(recipe.vsd, from_step=0)  # what a later step needs is needed
    short = dataclasses.replace(
        recipe.loop, steps=2, log_every=1, sample_every=0, validate_every=0, checkpoint_every=2, keep=1
    )
    pace: list[float] = []
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    run(dataclasses.replace(recipe, loop=short, vsd=vsd), trial, lambda values: pace.append(values["images_per_s"]))
    if not PartialState().is_main_process:  # the first alone tells
        return
    file = find_checkpoint(trial)
    assert file is not None
    checkpoint, images = file.stat().st_size, read_run(file)["items_per_step"]
    yield f"a step: {images / pace[-1]:.2f} s ({pace[-1]:.2f} images per second, once warm)"
    yield f"memory, measured: {peak_memory() / GB:.2f} GB at most"
    required, free = checkpoint * (recipe.loop.keep + 1), shutil.disk_usage(_existing(out)).free
    yield f"disk: {required / GB:.2f} GB for {recipe.loop.keep} checkpoints and one on the way, {free / GB:.1f} GB free"
    if required > free:
        raise RecipeError(
            f"{out}: not enough room for the checkpoints; free some, lower loop.keep, or choose another --output"
        )


def peak_memory() -> int:
    """Return the peak memory in bytes, of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.absolute().parent)
