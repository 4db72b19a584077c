"""Define the options that choose and steer a model, and build an upscaler from them.

Shared by every command that runs one.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from cli.help import LOADING, MODEL, RESTORATION, SIZE, UNCERTAINTY, option, together
from cli.presets import preset_option, yield_to_scale
from cli.printing import say
from image_core.options import (
    COLOR_FIXES,
    ENGINES,
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

DEFAULT = UpscaleOptions()

size_options = together([
    preset_option,
    option(
        SIZE, "--scale", type=click.FloatRange(MIN_SCALE, MAX_SCALE),
        help="Output size divided by input size.  [default: what the model advises, 4; for sd21-face 1]",
    ),
    option(
        SIZE, "--size", metavar="SIZE", callback=yield_to_scale,
        help="Output size instead of --scale: 1080p, 4k, the short side in pixels, or WIDTHxHEIGHT.",
    ),
])  # fmt: skip

choice_options = together([
    option(
        MODEL, "--model", default="auto", show_default=True, metavar="NAME|FOLDER",
        help="Model to run, or the folder of a bundle; auto is the best one installed.",
    ),
    option(MODEL, "--device", default="auto", show_default=True, help="Device to run on: cpu, cuda, cuda:1 or mps."),
    option(
        MODEL, "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
        help="Precision of the model; auto is fp16 on a GPU quick at it, and on a CPU bf16 where it multiplies that "
        "and the model bears it, else fp32; mixed is the autoencoder in bf16 and the UNet in fp32.",
    ),
    option(
        LOADING, "--engine", type=click.Choice(ENGINES), default="auto", show_default=True,
        help="Library that multiplies: openvino runs lite on a CPU, within a level of torch; openvino-int8 rounds, "
        "for processors without bfloat16; auto is what bench --tune found fastest here, else torch.",
    ),
])  # fmt: skip

fast_option = option(
    LOADING, "--fast/--no-fast",
    help="Run lite without its UNet: 1.4 to 1.7 times as fast, up to 16 % of its gain lost on clean input; noise "
    "stays.",
)  # fmt: skip

model_options = together([
    choice_options,
    option(MODEL, "--prompt", help="Text of what the image shows, for models that read text."),
    option(
        MODEL, "--prompt-mode", type=click.Choice(PROMPT_MODES), default=DEFAULT.prompt_mode, show_default=True,
        help="Source of the prompt: tags names what each image shows and adds --prompt, tags+text adds what is "
        "written in it too, fixed is --prompt alone, auto is tags if the model has a tagger.",
    ),
    option(MODEL, "--negative-prompt", help="Text that --guidance leads away from.  [default: empty]"),
    option(
        RESTORATION, "--strength", type=float, default=DEFAULT.strength, show_default=True,
        help="Blend from the enlarged input (0) to the model's result (1).",
    ),
    option(
        RESTORATION, "--adaptive/--no-adaptive", help="Restore less where the input is already sharp and clean.",
    ),
    option(
        RESTORATION, "--guidance", type=float, default=DEFAULT.guidance, show_default=True,
        help="Classifier-free guidance scale, 1 to 20; above 1 the UNet runs twice.",
    ),
    option(
        RESTORATION, "--lora-scale", type=float, default=DEFAULT.lora_scale, show_default=True,
        help="Scale of unmerged LoRA adapters, 0 to 2.",
    ),
    option(
        RESTORATION, "--color-fix", type=click.Choice(COLOR_FIXES), default=DEFAULT.color_fix, show_default=True,
        help="Method that holds colours to the input's; auto is the one the model advises.",
    ),
    option(RESTORATION, "--keep-tones/--no-keep-tones", help="Keep the input's low frequencies exactly."),
    option(
        LOADING, "--compile/--no-compile",
        help="Compile the model for the size of the images with torch.compile: a minute or so for each new size, then "
        "kept for later runs; needs a C++ compiler, on CUDA triton.",
    ),
    fast_option,
    option(
        LOADING, "--tiny-decoder", metavar="FOLDER|own",
        help="Folder of an AutoencoderTiny (such as TAESD) that decodes in place of sd21's own: half the work, less "
        "detail; own is sd21's, where the model names a tiny one.",
    ),
    option(
        LOADING, "--batch", type=click.IntRange(1),
        help="Images in one call of the model.  [default: as many as memory allows; 1 on a CPU]",
    ),
    option(
        LOADING, "--tile", "tile_px", type=click.IntRange(128),
        help="Edge of tiles in pixels of the output, 128 or more.  [default: whole images if they fit in memory]",
    ),
])  # fmt: skip

draws_option = option(
    UNCERTAINTY, "--draws", type=click.IntRange(2, MAX_DRAWS), default=Draws.count, show_default=True,
    help="Results that --uncertainty compares; the model runs once more for each.",
)  # fmt: skip


def seed_option(group: str, users: str) -> Any:
    """Return the option of a random seed. users: the options that draw by it."""
    return option(
        group, "--seed", type=click.IntRange(0), default=Draws.seed, show_default=True, help=f"Random seed for {users}."
    )


drawing_options = together([draws_option, seed_option(UNCERTAINTY, "--draws")])


def image_options(values: dict[str, Any], model: str = "auto") -> UpscaleOptions:
    """Take out of `values` what `size_options` and `model_options` added to it.

    model: where it is no part of `values`. Without --scale and --size the model says its own. Raises UsageError.
    """
    if "scale" in values and values["scale"] is None:
        values["scale"] = UpscaleOptions.scale if values.get("size") else own_scale(values.get("model", model))
    try:
        names = [field.name for field in fields(UpscaleOptions) if field.name in values]
        return UpscaleOptions(**{name: values.pop(name) for name in names})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def own_scale(model: str) -> float:
    """Return the scale that a model advises; the usual one for a model that cannot be read, which loading will say."""
    from image_core.errors import OseDiffError
    from image_core.models.catalogue import advised_scale

    try:
        return advised_scale(model)
    except OseDiffError:
        return UpscaleOptions.scale


def build_upscaler(options: UpscaleOptions, *, model: str, device: str, precision: Any, engine: Any) -> "Upscaler":
    """Load the model and say on standard error which one runs, and where. Raises OseDiffError."""
    from osediff_video.api import load_upscaler

    return load_upscaler(model, options, device=device, precision=precision, report=say, engine=engine)
