"""Run several recipes in one command, one after the other, each free to start from those before it."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from train.config import Recipe, RecipeError
from train.loop import run
from train.progress import ReportStep
from train.recipe import load_recipe
from train.state import find_checkpoint, with_starts

RUNS = Path("runs")


class Run(NamedTuple):
    """Name a run's folder, where its checkpoints and log lie; the runs that it starts from lie beside it."""

    recipe: Recipe
    folder: Path


def plan_runs(files: Sequence[Path], overrides: tuple[str, ...] = (), out: Path | None = None) -> list[Run]:
    """Read the recipes and say where each trains: in `runs/RECIPE`.

    overrides: for every recipe. out: the run folder of one recipe, or of several the folder in place of `runs`. Raises
    RecipeError for what no recipe may hold, for two of one name, and for a start that nothing has trained or will.
    """
    folders = [out] if out and len(files) == 1 else [(out or RUNS) / file.stem for file in files]
    runs: list[Run] = []
    for file, folder in zip(files, folders, strict=True):
        recipe = load_recipe(file, overrides)
        earlier = {other.folder.name for other in runs}
        if folder.name in earlier:
            raise RecipeError(f"{file}: a second recipe of this name, and {folder} is one folder; rename one of them")
        if not find_checkpoint(folder):
            _check_starts(recipe, folder, earlier)
        runs.append(Run(recipe, folder))
    return runs


def _check_starts(recipe: Recipe, folder: Path, earlier: set[str]) -> None:
    """Report missing runs now, not when the stages before are done."""
    start = with_starts(recipe, folder.parent).start
    for key, path in (("generator", Path(start.generator)), ("prior", Path(start.prior))):
        if path.parent == RUNS and path.name not in earlier and not find_checkpoint(path):
            raise RecipeError(
                f"{folder.name}: start.{key} is {path}, which is not trained; name its recipe before this one"
            )


def train_runs(runs: Sequence[Run], report: ReportStep, minutes: float = math.inf) -> Iterator[tuple[Run, int]]:
    """Train each to its end and yield it with the step reached. One that is at its end already takes no time.

    minutes: after so many, the run in progress stops at the end of a step, with a checkpoint, and is the last that is
    yielded. At least one step is done. Raises what `run` of train/loop.py raises.
    """
    deadline = time.monotonic() + 60 * minutes
    for one in runs:
        step = run(one.recipe, one.folder, report, deadline)
        yield one, step
        if step < one.recipe.loop.steps:
            return
