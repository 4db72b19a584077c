"""Define one click group behind two names, `osediff-video` and `osediff`.

Commands are imported when they are asked for.
"""

import importlib
import sys
from typing import Any

import click

from cli.help import Group
from cli.jobs.interrupt import one_interrupt
from cli.printing import message_of
from image_core.errors import OseDiffError

COMMANDS = {
    "upscale": "Make videos or folders of frames sharper and larger.",
    "plan": "Read a video once so that several processes or machines can make its segments.",
    "assemble": "Put segments that several processes made together.",
    "image": "Make images sharper and larger.",
    "preview": "Upscale a short sample, show it beside the input, and estimate the time for all.",
    "compare": "Show two videos or images in one.",
    "eval": "Score videos or images against good ones.",
    "probe": "Inspect a video and show what upscale would do with it.",
    "bench": "Measure a model on this machine, and find what is fastest here.",
    "models": "List, show, pull, import, mix and verify models.",
    "presets": "List and show presets: settings for one kind of material.",
    "train": "Train a model from a recipe.",
    "watch": "Upscale what arrives in a folder.",
    "gui": "Show a page in the browser to preview and upscale.",
    "doctor": "Check this installation and machine.",
}


class LazyGroup(Group):
    """Define a group that knows its commands by name and turns our errors into one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"cli.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with one_interrupt():
                return super().invoke(ctx)
        except OseDiffError as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(message_of(error)) from error
        except (MemoryError, RuntimeError) as error:
            if ctx.params.get("debug") or not ran_out_of_memory(error):
                raise
            raise click.ClickException(
                "not enough memory; close other programs, work on smaller pieces, or raise the limit (ulimit -v)"
            ) from error


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, without loading torch where it is not loaded."""
    if isinstance(error, MemoryError):
        return True
    memory = sys.modules.get("image_core.device.memory")
    return memory is not None and memory.is_out_of_memory(error)


@click.group(cls=LazyGroup)
@click.option("--debug", is_flag=True, help="Show tracebacks and the libraries' warnings.")
@click.version_option(package_name="osediff-video", message="%(version)s")
def cli(debug: bool) -> None:
    """Sharpen videos and images with one diffusion step per frame (OSEDiff)."""
    if not debug:
        import logging
        import os
        import warnings

        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
