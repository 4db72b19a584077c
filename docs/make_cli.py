"""Write docs/cli.md, the reference of all commands, from click: `python docs/make_cli.py`."""

from pathlib import Path

import click

from cli.main import COMMANDS, cli

WIDTH = 100


def reference() -> str:
    """Return the help of every command as Markdown."""
    pages = ["# Commands", "", "Made by `python docs/make_cli.py`. `osediff` is an alias of `osediff-video`.", ""]
    root = context(cli, "osediff-video", None)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        pages += section(command, context(command, name, root))
    return "\n".join(pages).rstrip() + "\n"


def section(command: click.Command, here: click.Context) -> list[str]:
    """Return the heading and help of one command, and those of its subcommands."""
    lines = [f"## {here.command_path}", "", "```text", command.get_help(here), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(here):
            inner = command.get_command(here, name)
            assert inner is not None
            lines += section(inner, context(inner, name, here))
    return lines


def context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)


if __name__ == "__main__":
    Path(__file__).with_name("cli.md").write_text(reference(), encoding="utf-8")
