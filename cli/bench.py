"""Define the command `osediff-video bench`."""

import json
from pathlib import Path
from typing import Any

import click

from cli.help import OUTPUT, command, option
from cli.model_options import choice_options, fast_option
from cli.printing import say, write

BENCH = "Measurement"


@command()
@click.argument("source", required=False, type=click.Path(path_type=Path))
@option(
    BENCH,
    "--against",
    type=click.Choice(["plain", "peer"]),
    help="Program to alternate with: plain is the same model in a plain loop, peer realesr-animevideov3 in ncnn.",
)
@option(
    BENCH,
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Whole runs of each program; medians are shown.",
)
@option(
    BENCH,
    "--tune",
    is_flag=True,
    help="Find the fastest engine and number of workers on this CPU, and let later runs of lite use them.",
)
@choice_options
@fast_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def bench(source: Path | None, against: str | None, rounds: int, tune: bool, as_json: bool, **values: Any) -> None:
    """Measure a model here: its size, its parts, and whole runs on the video SOURCE, or on a clip that is made."""
    if tune and (source is not None or against is not None):
        raise click.UsageError("--tune measures by itself; leave SOURCE and --against out")

    from osediff_video.workflow import bench as measure
    from osediff_video.workflow import tune as tuning

    if tune:
        model = "lite" if values["model"] == "auto" else values["model"]
        row = tuning.tune(model, report=say, fast=values["fast"])
    else:
        row = measure.bench(values.pop("model"), source=source, against=against, rounds=rounds, report=say, **values)
    if as_json:
        click.echo(json.dumps(row))
        return
    for name, value in lines(row, ""):
        write(f"{name:28} {value}")


def lines(row: dict[str, Any], before: str) -> list[tuple[str, object]]:
    """Return what a row holds as names and values, those of inner tables behind their table's name."""
    found: list[tuple[str, object]] = []
    for name, value in row.items():
        found += lines(value, f"{before}{name} ") if isinstance(value, dict) else [(before + name, value)]
    return found
