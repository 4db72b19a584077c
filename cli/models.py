"""Define the commands `osediff models ...`."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from cli.help import OUTPUT, Group, command, option, together
from cli.printing import printable, say, write

HERE = click.Path(path_type=Path)
BUNDLE, PARTS = "Bundle", "Parts"

bundle_options = together([
    option(OUTPUT, "-o", "--output", type=HERE, help="Bundle to write.  [default: in the folder of your models]"),
    option(BUNDLE, "--merge", is_flag=True, help="Fold LoRA into the weights: one file less, no adapters left."),
    option(
        BUNDLE, "--prompt", "prompts", multiple=True, help="Prompt whose embedding is stored as well; repeatable.",
    ),
])  # fmt: skip


@command("list")
def list_models() -> None:
    """Show every model on this machine with size, licence and use, and those that can be pulled."""
    from image_core.bundle import check_presence, read_bundle
    from image_core.errors import CheckpointError
    from image_core.models.catalogue import installed, models_folder
    from image_core.models.downloads import KNOWN

    here = installed()
    for name, folder in here.items():
        try:
            bundle = read_bundle(folder)
            size = check_presence(bundle) / 1e6
        except CheckpointError as error:
            write(f"{name}: damaged. {error}")
            continue
        config, tags = bundle.config, " Names tags." if bundle.has_tagger else ""
        tags += " Tiny decoder." if bundle.tiny_decoder else ""
        write(f"{name}: {size:.1f} MB, {config.licence}. {config.card.get('summary', '')}{tags}".rstrip())
    for name, known in KNOWN.items():
        if name not in here:
            plain, tagged = known.gigabytes
            write(
                f"{name}: not installed; osediff models pull {name} downloads {plain:g} GB, {tagged:g} with --tagger. "
                f"{known.licence}. {known.summary}"
            )
    say(f"models are kept in {models_folder()}")


@command()
@click.argument("name")
def show(name: str) -> None:
    """Show the card of the model NAME: data, recipe, measurements, limits."""
    from image_core.models.catalogue import find_model

    bundle = find_model(name)
    config = bundle.config
    facts: dict[str, object] = {"name": config.name, "licence": config.licence, "timestep": config.timestep}
    if bundle.tiny_decoder:
        facts["decoder"] = f"the AutoencoderTiny in {bundle.tiny_decoder}"
    for line in _lines(facts | config.card, ""):
        write(line)


def _lines(facts: Mapping[str, object], indent: str) -> Iterator[str]:
    for name, value in facts.items():
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list | tuple):
            yield f"{indent}{name}: {', '.join(map(str, value))}"
        else:
            yield f"{indent}{name}: {value}"


@command()
@click.argument("name")
@option(PARTS, "--tagger", is_flag=True, help="Add RAM and DAPE, which name in tags what an image shows.")
@option(PARTS, "--offline", is_flag=True, help="Use only files that were downloaded before.")
@bundle_options
def pull(name: str, tagger: bool, offline: bool, output: Path | None, merge: bool, prompts: tuple[str, ...]) -> None:
    """Download the model NAME from the Hugging Face Hub or its mirrors.

    Every file is checked against its hash. Interrupted at any time, the same command resumes. HF_ENDPOINT, HF_TOKEN and
    HF_HUB_OFFLINE are honoured.
    """
    import sys

    from huggingface_hub.utils import disable_progress_bars

    from image_core.models.catalogue import models_folder
    from image_core.models.downloads import pull as pull_model

    if not sys.stderr.isatty():
        disable_progress_bars()
    target = output or models_folder() / name
    try:
        bundle = pull_model(name, target, tagger=tagger, merge=merge, prompts=prompts, offline=offline, report=say)
    except KeyboardInterrupt:
        say("stopped; downloaded files are kept. Run the same command again to resume.")
        raise SystemExit(1) from None
    say(f"{bundle.path}: ready, use it with --model {bundle.path if output else name}")


@command("import")
@option(PARTS, "--base", required=True, type=HERE, help="Stable Diffusion 2.1-base: diffusers folder or single file.")
@option(PARTS, "--weights", required=True, type=HERE, help="The published osediff.pkl or osediff_face.pkl.")
@option(PARTS, "--vae", type=HERE, help="Another autoencoder: a folder or file.  [default: the base's]")
@option(PARTS, "--tokenizer", type=HERE, help="Folder of the tokenizer, which a base in a single file lacks.")
@option(PARTS, "--tagger", type=HERE, help="Weights of RAM, ram_swin_large_14m.pth, beside its two lists.")
@option(PARTS, "--dape", type=HERE, help="Weights of DAPE, DAPE.pth, which fit the tagger to degraded images.")
@option(PARTS, "--tiny-decoder", type=HERE, help="Folder of an AutoencoderTiny (such as TAESD) to decode with.")
@option(PARTS, "--half", is_flag=True, help="Store half precision: half the size.")
@bundle_options
def import_model(
    base: Path,
    weights: Path,
    vae: Path | None,
    tokenizer: Path | None,
    tagger: Path | None,
    dape: Path | None,
    tiny_decoder: Path | None,
    half: bool,
    output: Path | None,
    merge: bool,
    prompts: tuple[str, ...],
) -> None:
    """Make a bundle from the published OSEDiff weights and a Stable Diffusion 2.1-base that you have."""
    from image_core.models.catalogue import models_folder
    from image_core.models.official import Ingredients, make_bundle

    target = output or models_folder() / ("sd21-face" if "face" in weights.name else "sd21")
    target.parent.mkdir(parents=True, exist_ok=True)
    parts = Ingredients(base, weights, vae, tokenizer, tagger, dape, tiny_decoder)
    bundle = make_bundle(parts, target, merge=merge, prompts=prompts, half=half)
    say(f"{bundle.path}: ready, use it with --model {bundle.path if output else target.name}")


@command()
@click.argument("first")
@click.argument("second")
@option(
    BUNDLE,
    "--share",
    type=float,
    default=0.5,
    show_default=True,
    help="Weight of SECOND, from 0 (FIRST) to 1 (SECOND).",
)
@option(BUNDLE, "--card", type=HERE, help="JSON file to add to the model card: summary, measured, limits.")
@option(OUTPUT, "-o", "--output", type=HERE, required=True, help="Bundle to write.")
def mix(first: str, second: str, share: float, card: Path | None, output: Path) -> None:
    """Make a model between the models FIRST and SECOND, which must be of one shape, such as lite and lite-faithful."""
    from image_core.bundle import read_card
    from image_core.models.catalogue import find_model
    from image_core.models.mixing import mix_models

    try:
        bundle = mix_models(find_model(first), find_model(second), share, output, read_card(card) if card else None)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    say(f"{bundle.path}: ready, use it with --model {bundle.path}")


@command()
@click.argument("name")
@option(BUNDLE, "--yes", is_flag=True, help="Do not ask first.")
def remove(name: str, yes: bool) -> None:
    """Delete the model NAME, which you pulled or imported, from this machine."""
    from image_core.models.catalogue import models_folder, remove_model

    if not yes:
        click.confirm(f"Delete {printable(str(models_folder() / name))}?", abort=True, err=True)
    say(f"{remove_model(name)}: removed")


@command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify(names: tuple[str, ...]) -> None:
    """Compare every file of the models NAME, or of all that are here, with the hashes in their bundles."""
    from image_core.bundle import verify_bundle
    from image_core.errors import OseDiffError
    from image_core.models.catalogue import find_model, installed

    damaged = 0
    for name in names or installed():
        try:
            bundle = find_model(name)
            verify_bundle(bundle)
        except OseDiffError as error:
            say(f"Error: {error}")
            damaged += 1
        else:
            say(f"{bundle.path}: all {len(bundle.config.files)} files match their hashes")
    raise SystemExit(1 if damaged else 0)


@click.group(cls=Group)
def models() -> None:
    """List, show, pull, import, mix, verify and remove models."""


for subcommand in (list_models, show, pull, import_model, mix, verify, remove):
    models.add_command(subcommand)
