"""`osediff train`"""

from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/RECIPE]")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting.")
@click.option("--check", is_flag=True, help="Try data, weights, memory, disk and a step, in seconds; train nothing.")
@click.option(
    "--export", type=click.Path(path_type=Path), help="Then write a bundle; or, ending in .pkl, the official layout."
)
@click.option("--commit", default="", help="Commit of the training code, kept in what is exported.")
def train(
    recipe: Path, out: Path | None, overrides: tuple[str, ...], check: bool, export: Path | None, commit: str
) -> None:
    """Train a model as the TOML file RECIPE says. Run it again and it goes on where it was.

    On several GPUs or machines: accelerate launch -m cli train RECIPE.
    """
    from accelerate import PartialState

    from train.check import check as try_recipe
    from train.export import export_run
    from train.loop import run
    from train.recipe import load_recipe

    settings = load_recipe(recipe, overrides)
    folder = out or Path("runs") / recipe.stem
    if check:
        for line in try_recipe(settings, folder):
            click.echo(line)
        return
    run(settings, folder, lambda told: click.echo(_line(told)))
    if export and PartialState().is_main_process:
        click.echo(f"{export_run(folder, settings, export, commit)}: written")


def _line(told: dict[str, float]) -> str:
    hours = f"  {told['eta_s'] / 3600:.2f} h left" if "eta_s" in told else ""
    return "  ".join(f"{name} {value:.5g}" for name, value in told.items() if name != "eta_s") + hours
