"""`python -m cli`: the same group as the console scripts."""

from cli.main import cli

cli(prog_name="osediff-video")
