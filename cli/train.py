"""`osediff train`"""

from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Run folder.  [default: runs/RECIPE]")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting.")
@click.option("--export", type=click.Path(path_type=Path), help="Write the trained model to this bundle at the end.")
@click.option("--commit", default="", help="Commit of the training code, kept in the bundle.")
def train(recipe: Path, out: Path | None, overrides: tuple[str, ...], export: Path | None, commit: str) -> None:
    """Train a model as the TOML file RECIPE says. Run it again and it resumes."""
    from train.config import load_recipe
    from train.export import export_lite
    from train.loop import run

    def report(values: dict[str, float]) -> None:
        click.echo("  ".join(f"{name} {value:.5g}" for name, value in values.items()))

    settings = load_recipe(recipe, overrides)
    state = run(settings, out or Path("runs") / recipe.stem, report)
    if export:
        bundle = export_lite(state, settings, export, commit)
        click.echo(f"{bundle.path}: written")
