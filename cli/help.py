"""Show the options of a command in named groups."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

OUTPUT = "Output"
SIZE = "Size and range"
PRESET = "Preset"
MODEL = "Model"
RESTORATION = "Restoration"
STEADINESS = "Steadiness"
READING = "Reading"
ENCODING = "Encoding"
UNCERTAINTY = "Uncertainty"
LOADING = "Speed and memory"
FARM = "Several machines"
OTHER = "Other"

NAMES_WIDTH = 30


class GroupedOption(click.Option):
    """Define an option that knows under which heading help shows it."""

    def __init__(self, *names: Any, group: str = OTHER, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.group = group


class ShortHelp(click.Command):
    """Answer to -h as to --help, however it is called: click keeps what the first call of a command asked for."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return both names, whatever the context says."""
        return ["-h", "--help"]


class Group(ShortHelp, click.Group):
    """Hold commands, and answer to -h."""


class GroupedCommand(ShortHelp):
    """Define a command whose help shows options under the headings of their groups, in the order of definition."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group, in columns that are as wide in all of them."""
        groups: dict[str, list[tuple[str, str]]] = {}
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        for parameter in sorted(options, key=lambda parameter: getattr(parameter, "group", OTHER) == OTHER):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", OTHER), []).append(record)
        width = min(NAMES_WIDTH, max(len(names) for rows in groups.values() for names, _ in rows))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl([(names.ljust(width), sentence) for names, sentence in rows], col_max=NAMES_WIDTH)


def option(group: str, *names: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """Return click's decorator of an option that help shows under the heading `group`."""
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], click.Command]:
    """Return click's decorator of a command with grouped help."""
    return click.command(name, cls=GroupedCommand)


def together(options: Sequence[Callable[[Decorated], Decorated]]) -> Callable[[Decorated], Decorated]:
    """Return one decorator for several options, in the order in which help shows them."""

    def add(function: Decorated) -> Decorated:
        for decorate in reversed(options):
            function = decorate(function)
        return function

    return add
