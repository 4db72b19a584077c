"""Define the commands `osediff-video presets ...`, and the option by which a command takes its defaults from one."""

from typing import Any

import click
from click.core import ParameterSource

from cli.help import PRESET, Group, command, option
from cli.printing import write


def take_defaults(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    """Make the settings of a preset the defaults of this command, so that everything typed wins. Raises PresetError."""
    if name is None:
        return

    from osediff_video.workflow.presets import read_preset

    given = dict(read_preset(name).given)
    pairs = given.pop("options", {})
    if pairs:
        given["encoder_options"] = [f"{key}={value}" for key, value in pairs.items()]
    ctx.default_map = {**(ctx.default_map or {}), **given}


def yield_to_scale(ctx: click.Context, _: click.Parameter, size: str | None) -> str | None:
    """Return the size, unless it is the preset's and the user typed a scale."""
    is_default = ctx.get_parameter_source("size") == ParameterSource.DEFAULT_MAP
    return None if is_default and ctx.get_parameter_source("scale") == ParameterSource.COMMANDLINE else size


preset_option: Any = option(
    PRESET, "--preset-file", metavar="NAME|FILE", is_eager=True, expose_value=False, callback=take_defaults,
    help="Settings for a kind of material, whose values hold unless an option says otherwise: a name that "
    "`presets list` shows, or a TOML file of your own.",
)  # fmt: skip


@command("list")
def list_presets() -> None:
    """Show the presets that come with the package."""
    from osediff_video.workflow.presets import preset_names, read_preset

    for name in preset_names():
        write(f"{name:10} {read_preset(name).summary}")


@command()
@click.argument("name", metavar="NAME|FILE")
def show(name: str) -> None:
    """Check a preset and print it with its explanations, as a beginning for one of your own."""
    from osediff_video.workflow.presets import preset_text, read_preset

    read_preset(name)
    for line in preset_text(name).splitlines():
        write(line)


@click.group(cls=Group)
def presets() -> None:
    """List and show presets: settings for one kind of material."""


for subcommand in (list_presets, show):
    presets.add_command(subcommand)
