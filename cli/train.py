"""Define the command `osediff train`."""

from pathlib import Path

import click

from cli.help import OUTPUT, command, option
from cli.printing import write

TRAINING, EXPORT = "Training", "Export"


@command()
@click.argument("recipes", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@option(
    OUTPUT,
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Run folder; of several recipes, the folder of their run folders.  [default: runs/RECIPE]",
)
@option(
    TRAINING,
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override a setting in every recipe; repeatable.",
)
@option(
    TRAINING,
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Stop after this many minutes; run again to resume.",
)
@option(
    TRAINING,
    "--check",
    is_flag=True,
    help="Try data, weights, memory, disk and one step in seconds, and train nothing.",
)
@option(
    EXPORT,
    "--export",
    type=click.Path(path_type=Path),
    help="Bundle to write of the last recipe, or a .pkl in the official layout.",
)
@option(EXPORT, "--commit", default="", help="Commit of the training code, stored in what is exported.")
@option(
    EXPORT,
    "--card",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file to add to the model card: summary, measured, limits.",
)
def train(
    recipes: tuple[Path, ...],
    output: Path | None,
    overrides: tuple[str, ...],
    minutes: float | None,
    check: bool,
    export: Path | None,
    commit: str,
    card: Path | None,
) -> None:
    """Train a model as the TOML files RECIPES say, one after the other. Run it again to resume.

    What a recipe starts from, `runs/NAME`, is looked for beside its own run folder first: recipes of one command find
    each other under any --output. On several GPUs or machines: accelerate launch -m cli train RECIPES.
    """
    import math

    from accelerate import PartialState

    from image_core.bundle import read_card
    from train.check import check as try_runs
    from train.export import check_export, export_run
    from train.runs import plan_runs, train_runs

    runs = plan_runs(recipes, overrides, output)
    more = read_card(card) if card else None
    if export:
        if check:
            raise click.UsageError("--check trains nothing that --export could write; leave one of them out")
        check_export(runs[-1].recipe, export)
    elif commit or card:
        raise click.UsageError("--commit and --card go into what --export writes; add --export or leave them out")
    if check:
        for line in try_runs(runs):
            write(line)
        return
    finished = 0
    for run, step in train_runs(runs, lambda values: write(_line(values)), minutes or math.inf):
        finished += step >= run.recipe.loop.steps
        if PartialState().is_main_process:
            write(_reached(run.folder, step, run.recipe.loop.steps))
    if export and finished == len(runs) and PartialState().is_main_process:
        write(f"{export_run(runs[-1].folder, runs[-1].recipe, export, commit, more)}: written")


def _reached(folder: Path, step: int, steps: int) -> str:
    if step >= steps:
        return f"{folder}: finished at step {step}"
    return f"{folder}: stopped at step {step} of {steps}; run the same command again to resume"


def _line(values: dict[str, float]) -> str:
    hours = f"  {values['eta_s'] / 3600:.2f} h left" if "eta_s" in values else ""
    return "  ".join(f"{name} {value:.5g}" for name, value in values.items() if name != "eta_s") + hours
