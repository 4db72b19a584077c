"""Run the console scripts' group as `python -m cli`."""

from cli.main import cli

cli(prog_name="osediff-video")
