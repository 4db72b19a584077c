"""`osediff models`"""

from pathlib import Path

import click

from cli.model import say


@click.group()
def models() -> None:
    """List, import and verify models."""


@models.command(name="list")
def list_models() -> None:
    """Show every model on this machine, its size, licence and what it is good for."""
    from image_core.bundle import read_bundle
    from image_core.catalogue import installed

    for name, folder in installed().items():
        config = read_bundle(folder).config
        size = sum((folder / file).stat().st_size for file in config.files) / 1e6
        click.echo(f"{name}: {size:.1f} MB, {config.licence}. {config.card.get('summary', '')}".rstrip())


@models.command(name="import")
@click.option("--base", required=True, type=click.Path(path_type=Path), help="SD 2.1-base folder in diffusers layout.")
@click.option("--weights", required=True, type=click.Path(path_type=Path), help="The published osediff.pkl.")
@click.option("--out", type=click.Path(path_type=Path), help="Bundle to write.  [default: sd21 among your models]")
@click.option("--merge", is_flag=True, help="Fold LoRA into the weights: faster, no adapters left.")
@click.option("--prompt", "prompts", multiple=True, help="Also store this prompt's embedding; may be repeated.")
def import_model(base: Path, weights: Path, out: Path | None, merge: bool, prompts: tuple[str, ...]) -> None:
    """Make a bundle from the published OSEDiff weights and a Stable Diffusion 2.1-base folder."""
    from image_core.catalogue import models_folder
    from image_core.official import import_official

    target = out or models_folder() / "sd21"
    target.parent.mkdir(parents=True, exist_ok=True)
    bundle = import_official(base, weights, target, merge=merge, prompts=prompts)
    say(f"{bundle.path}: ready, use it with --model {bundle.path if out else target.name}")


@models.command()
@click.argument("name")
def verify(name: str) -> None:
    """Compare every file of the model NAME with the hash in its bundle."""
    from image_core.bundle import verify_bundle
    from image_core.catalogue import find_model

    bundle = find_model(name)
    verify_bundle(bundle)
    say(f"{bundle.path}: all {len(bundle.config.files)} files are as they were written")
