"""The options that choose and steer a model, and what they become. Shared by every command that runs one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from image_core.options import COLOR_FIXES, MAX_SCALE, MIN_SCALE, PRECISIONS, PROMPT_MODES, UpscaleOptions

if TYPE_CHECKING:
    from image_core.upscale import Upscaler

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--scale", type=click.FloatRange(MIN_SCALE, MAX_SCALE), default=UpscaleOptions.scale, show_default=True,
        help="Output size / input size.",
    ),
    click.option("--model", default="auto", show_default=True, help="A model's name or the folder of a bundle."),
    click.option("--prompt", help="What the picture shows, for models that read text."),
    click.option(
        "--prompt-mode", type=click.Choice(PROMPT_MODES), default=UpscaleOptions.prompt_mode, show_default=True,
        help="tags: what the picture shows, then --prompt; fixed: --prompt; auto: tags if the model has a tagger.",
    ),
    click.option(
        "--color-fix", type=click.Choice(COLOR_FIXES), default=UpscaleOptions.color_fix, show_default=True,
        help="How colours are held to the input's; auto is the model's own advice.",
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True),
    click.option("--batch", type=click.IntRange(1), help="Pictures per model call.  [default: what fits]"),
    click.option("--tile", "tile_px", type=click.IntRange(128), help="Tile edge.  [default: no tiles if it fits]"),
)  # fmt: skip


def together(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """One decorator of several, in the order in which help shows them."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


model_options = together(OPTIONS)


def build_upscaler(
    *,
    scale: float,
    model: str,
    prompt: str | None,
    prompt_mode: Any,
    color_fix: Any,
    device: str,
    precision: Any,
    batch: int | None,
    tile_px: int | None,
) -> "Upscaler":
    """From words to an upscaler. Says on standard error which model runs, and where. Raises OseDiffError."""
    try:
        options = UpscaleOptions(scale, prompt, color_fix, batch, tile_px, prompt_mode=prompt_mode)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    from image_core.catalogue import choose_device, choose_dtype, find_model, load_upscaler

    bundle = find_model(model)
    place = choose_device(device)
    dtype = choose_dtype(precision, place, bundle.config.alpha_bar)
    upscaler = load_upscaler(bundle, options, device=place, dtype=dtype, report=say)
    summary = bundle.config.card.get("summary", "")
    say(f"model: {bundle.config.name} on {place} in {str(dtype).removeprefix('torch.')}. {summary}")
    return upscaler


def say(sentence: str) -> None:
    click.echo(sentence.strip(), err=True)
