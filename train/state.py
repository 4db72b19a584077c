"""Save and resume a run exactly: everything that a step changes, in files that appear whole or not at all."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from image_core.errors import OutputError
from image_core.storage.files import replacing
from train.config import LoopConfig, Recipe, RecipeError, StartConfig
from train.recipe import build

RUN_FORMAT = 1
FREE = {
    "name",
    *(f"data.{name}" for name in ("folder", "latent", "licence", "workers", "pool.folder")),
    *(f"loop.{name}" for name in ("batch", "accumulate", "device", "keep")),
    *(f"loop.{name}_every" for name in ("log", "checkpoint", "sample", "validate")),
}
"""Settings that may change between two calls: they leave the weights alone, or are checked in another way."""


class TrainState:
    """Hold the modules that learn, an AdamW for each, the average of the first, and the step.

    items_per_step: over all passes and processes; with the step it says where in the data the run is.

    Frozen weights are not saved: they come from where they came from. Nor is random state: see train/item_random.py.
    """

    def __init__(
        self, modules: dict[str, nn.Module], rates: dict[str, float], config: LoopConfig, items_per_step: int
    ) -> None:
        self.modules, self.items_per_step, self.step = modules, items_per_step, 0
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.AdamW(trainable(module).values(), rates[name], weight_decay=config.weight_decay)
            for name, module in modules.items()
        }
        self.ema = config.ema
        self.average: dict[str, Tensor] = {}

    def begin_average(self) -> None:
        """Start the average at the present weights, on their device."""
        first = next(iter(self.modules.values()))
        self.average = {name: p.detach().clone() for name, p in trainable(first).items()} if self.ema else {}

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the average towards the model, faster in the first steps, when the start should be forgotten."""
        decay = min(self.ema, (1 + self.step) / (10 + self.step))
        current = trainable(next(iter(self.modules.values())))
        for name, average in self.average.items():
            average.lerp_(current[name], 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the average into the first module for a while."""
        current = trainable(next(iter(self.modules.values())))
        live = {name: current[name].data for name in self.average}
        for name, average in self.average.items():
            current[name].data = average
        try:
            yield
        finally:
            for name, weight in live.items():
                current[name].data = weight

    def content(self, recipe: Recipe) -> dict[str, Any]:
        """Return all of it on the CPU, without the names that wrappers add. In a group every process must call this."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        states = {
            name: get_state_dict(module, _plain(self.optimizers[name]), options=options)
            for name, module in self.modules.items()
        }
        return {
            "format": RUN_FORMAT,
            "recipe": dataclasses.asdict(recipe),
            "step": self.step,
            "items_per_step": self.items_per_step,
            "modules": {name: model for name, (model, _) in states.items()},
            "optimizers": {name: optimizer for name, (_, optimizer) in states.items()},
            "average": {name: tensor.cpu() for name, tensor in self.average.items()},
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Put back what `content` returned, into modules of the same shape."""
        options = StateDictOptions(full_state_dict=True, strict=False)
        for name, module in self.modules.items():
            set_state_dict(
                module,
                _plain(self.optimizers[name]),
                model_state_dict=content["modules"][name],
                optim_state_dict=content["optimizers"][name],
                options=options,
            )
        for name, tensor in self.average.items():
            tensor.copy_(content["average"][name])
        self.step = content["step"]


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that learn, by their names in the bare module."""
    return {
        name.removeprefix("module."): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def load_partial(module: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Put the weights of another run into `module`. Raises RecipeError naming the first that does not fit.

    What `tensors` leaves out stays as it is: a run saves what it trained.
    """
    own = module.state_dict()
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            actual, expected = tuple(tensor.shape), tuple(own[name].shape) if name in own else "nothing of this name"
            raise RecipeError(
                f"{where}: {name} is {actual}, the recipe expects {expected}; use the same [lite] for both"
            )
    module.load_state_dict(tensors, strict=False)


def _plain(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return getattr(optimizer, "optimizer", optimizer)  # Accelerate's wrapper keeps it under this name


def save_checkpoint(content: dict[str, Any], folder: Path, keep: int) -> Path:
    """Write `step-NNNNNNNN.pt` and forget all but the newest `keep`. Raises OutputError, and leaves what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{content['step']:08d}.pt"
    try:
        with replacing(path) as part:  # a name without the whole content must never reach the disk
            torch.save(content, part)
    except (OSError, RuntimeError) as error:  # torch's writer turns a failed write into a RuntimeError
        checkpoint = find_checkpoint(folder)
        rest = f"the checkpoint {checkpoint.name} is untouched" if checkpoint else "there is no earlier checkpoint"
        raise OutputError(f"{path}: cannot be written ({error}); {rest}; free some space and run again") from error
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink()
    return path


def find_checkpoint(folder: Path) -> Path | None:
    """Find the newest checkpoint in a run folder."""
    checkpoints = [path for path in folder.glob("step-*.pt") if re.fullmatch(r"step-\d+\.pt", path.name)]
    return max(checkpoints, default=None)


def read_run(path: Path, form: int | str = RUN_FORMAT) -> dict[str, Any]:
    """Read a checkpoint, or the newest of a run folder. form: of a light checkpoint. Raises RecipeError."""
    file = find_checkpoint(path) if path.is_dir() else path
    if file is None or not file.is_file():
        raise RecipeError(f"{path}: no checkpoint here (step-NNNNNNNN.pt); is it the folder of a training run?")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged zip or pickle raises one of a dozen kinds
        raise RecipeError(f"{file}: not a readable checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or content.get("format") != form:
        raise RecipeError(f"{file}: not a checkpoint of this trainer, or of another version of it")
    return content


def averaged(content: dict[str, Any]) -> dict[str, Tensor]:
    """Return what the first module of a checkpoint has learnt: its average where one was kept, else itself."""
    return next(iter(content["modules"].values())) | content["average"]


def with_starts(recipe: Recipe, *folders: Path) -> Recipe:
    """Resolve `runs/NAME` in [start] to the run NAME in the first of `folders` that has it; other paths stay.

    So runs that start from each other find each other wherever they lie side by side.
    """

    def located(start: str) -> str:
        match PurePath(start).parts:
            case ("runs", name):
                here = (folder / name for folder in folders if find_checkpoint(folder / name))
                return next((str(run.absolute()) for run in here), start)
        return start

    start = StartConfig(located(recipe.start.generator), located(recipe.start.prior))
    return dataclasses.replace(recipe, start=start)


def read_progress(folder: Path, recipe: Recipe, items_per_step: int) -> dict[str, Any] | None:
    """Read the newest checkpoint in a run folder, if any. Raises RecipeError if the recipe cannot go on from it."""
    file = find_checkpoint(folder)
    if file is None:
        return None
    content = read_run(file)
    _check_continues(content, recipe, items_per_step, file)
    return content


def _check_continues(content: dict[str, Any], recipe: Recipe, items_per_step: int, where: Path) -> None:
    """Raise RecipeError naming the settings that differ from those the checkpoint was made with, and matter."""
    then = build(Recipe, content["recipe"], f"{where}: recipe")  # settings younger than the file get their defaults
    old, new = _flat(dataclasses.asdict(then)), _flat(dataclasses.asdict(recipe))
    free = FREE | ({"loop.steps"} if recipe.loop.schedule == "constant" else set())  # else it shapes the learning rate
    changed = [
        f"{key} was {old.get(key)!r}, is {new[key]!r}" for key in new if key not in free and old[key] != new[key]
    ]
    if content["step"] < recipe.loop.steps and not content["optimizers"]:
        raise RecipeError(
            f"{where}: the weights of a finished run, without what more steps need; name it in [start] of a new one"
        )
    if content["items_per_step"] != items_per_step:
        changed.append(f"batch x accumulate x processes was {content['items_per_step']}, is {items_per_step}")
    if changed:
        raise RecipeError(f"{where}: made with another recipe ({'; '.join(changed[:3])}); use another --output folder")


def _flat(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
