"""The options that choose and steer a model, and what they become. Shared by every command that runs one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from image_core.options import (
    COLOR_FIXES,
    MAX_DRAWS,
    MAX_SCALE,
    MIN_SCALE,
    PRECISIONS,
    PROMPT_MODES,
    Draws,
    UpscaleOptions,
)

if TYPE_CHECKING:
    from image_core.upscaler import Upscaler

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--scale", type=click.FloatRange(MIN_SCALE, MAX_SCALE), default=UpscaleOptions.scale, show_default=True,
        help="Output size / input size.",
    ),
    click.option("--model", default="auto", show_default=True, help="A model's name or the folder of a bundle."),
    click.option("--prompt", help="What the image shows, for models that read text."),
    click.option("--negative-prompt", help="What it should not show, with --guidance.  [default: empty]"),
    click.option(
        "--guidance", type=float, default=UpscaleOptions.guidance, show_default=True,
        help="How far it is led away from the negative prompt, 1 to 20; above 1 the model runs twice.",
    ),
    click.option(
        "--strength", type=float, default=UpscaleOptions.strength, show_default=True,
        help="From the enlarged input, 0, to what the model makes of it, 1.",
    ),
    click.option("--adaptive", is_flag=True, help="Less of it where the input is sharp and clean."),
    click.option(
        "--lora-scale", type=float, default=UpscaleOptions.lora_scale, show_default=True,
        help="Of the model's adapters, if they are not merged, 0 to 2.",
    ),
    click.option("--keep-tones", is_flag=True, help="Low frequencies stay exactly the input's."),
    click.option(
        "--prompt-mode", type=click.Choice(PROMPT_MODES), default=UpscaleOptions.prompt_mode, show_default=True,
        help="tags: what the image shows, then --prompt; fixed: --prompt; auto: tags if the model has a tagger.",
    ),
    click.option(
        "--color-fix", type=click.Choice(COLOR_FIXES), default=UpscaleOptions.color_fix, show_default=True,
        help="How colours are held to the input's; auto is the model's own advice.",
    ),
    click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option("--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True),
    click.option("--batch", type=click.IntRange(1), help="Images per model call.  [default: what fits]"),
    click.option("--tile", "tile_px", type=click.IntRange(128), help="Tile edge.  [default: no tiles if it fits]"),
)  # fmt: skip


DRAWING = (
    click.option(
        "--draws", type=click.IntRange(2, MAX_DRAWS), default=Draws.count, show_default=True,
        help="Results that a map of uncertainty compares; the model runs once more for each.",
    ),
    click.option("--seed", type=click.IntRange(0), default=Draws.seed, show_default=True, help="Of those draws."),
)  # fmt: skip


def together(options: Sequence[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """One decorator of several, in the order in which help shows them."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


model_options, drawing_options = together(OPTIONS), together(DRAWING)


def build_upscaler(
    *,
    scale: float,
    model: str,
    prompt: str | None,
    prompt_mode: Any,
    negative_prompt: str | None,
    guidance: float,
    strength: float,
    adaptive: bool,
    lora_scale: float,
    keep_tones: bool,
    color_fix: Any,
    device: str,
    precision: Any,
    batch: int | None,
    tile_px: int | None,
) -> "Upscaler":
    """From words to an upscaler. Says on standard error which model runs, and where. Raises OseDiffError."""
    try:
        options = UpscaleOptions(
            scale=scale,
            prompt=prompt,
            prompt_mode=prompt_mode,
            negative_prompt=negative_prompt,
            guidance=guidance,
            strength=strength,
            adaptive=adaptive,
            lora_scale=lora_scale,
            keep_tones=keep_tones,
            color_fix=color_fix,
            batch=batch,
            tile_px=tile_px,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    from osediff_video.api import load_upscaler

    return load_upscaler(model, options, device=device, precision=precision, report=say)


def say(sentence: str) -> None:
    click.echo(sentence.strip(), err=True)
