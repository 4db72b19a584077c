"""Define the command `osediff-video eval`."""

import json
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.help import OUTPUT, command, option
from cli.printing import say, write
from osediff_video.suffixes import is_image

if TYPE_CHECKING:
    from osediff_video.metrics.image import Scorers
    from osediff_video.metrics.table import Table
    from osediff_video.temporal.flow import Estimator

METRICS = "Metrics"


@command("eval")
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@option(
    OUTPUT,
    "--csv",
    "table_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Table to write, one line per image.",
)
@option(OUTPUT, "--overwrite", is_flag=True, help="Replace an existing FILE.")
@option(METRICS, "--paper", is_flag=True, help="Score the columns of the OSEDiff paper whose weights are installed.")
@option(
    METRICS,
    "--also",
    multiple=True,
    metavar="NAME",
    help="Metric of pyiqa, such as niqe, musiq or fid; repeatable.",
)
@option(METRICS, "--text", is_flag=True, help="Score how much of the text in REFERENCE is still readable in RESULT.")
@option(
    METRICS,
    "--lpips",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ImageNet weights of AlexNet for LPIPS and tLP.  [default: those in torch's cache]",
)
@option(METRICS, "--niqe", type=click.Path(path_type=Path), metavar="FILE", help="Parameters of NIQE, .mat or .npz.")
@option(
    METRICS,
    "--flow",
    default="dis",
    show_default=True,
    metavar="dis|FILE",
    help="Motion estimator for videos: dis needs no weights, FILE holds those of RAFT.",
)
def eval(
    result: Path,
    reference: Path,
    lpips: Path | None,
    niqe: Path | None,
    also: tuple[str, ...],
    paper: bool,
    text: bool,
    flow: str,
    as_json: bool,
    table_file: Path | None,
    overwrite: bool,
) -> None:
    """Score RESULT against REFERENCE: two videos, two images, or two folders of images with equal names."""
    if table_file is not None:
        check_table(table_file, overwrite)

    from osediff_video.metrics.table import PAPER, PYIQA, find_scorers

    names = list(dict.fromkeys([*also, *(PYIQA if paper else ()), *(("niqe",) if niqe else ())]))
    scorers, missing = find_scorers([name for name in names if name != "fid"], lpips, niqe, strict=not paper, text=text)
    table = score(result, reference, scorers, flow, with_fid="fid" in names, strict=not paper)
    table.missing = missing | table.missing
    if paper:
        table = table.only([*PAPER, *(name for name in also if name not in PAPER), *(["text"] if text else [])])
    if text and "text" not in table.means:
        say("note: no text was found in the reference, so there is no score of it")
    if table.unpaired:
        say(f"note: {len(table.unpaired)} images have no partner and are left out: {', '.join(table.unpaired[:3])}")
    if table_file is not None:
        from image_core.storage.files import write_whole

        write_whole(table_file, table.as_csv())
    tell(table, as_json)


def score(result: Path, reference: Path, scorers: "Scorers", flow: str, *, with_fid: bool, strict: bool) -> "Table":
    """Score two images, two folders or two videos. Raises ImageError or MediaError."""
    from osediff_video.metrics.table import Table, add_frechet, score_folders, score_pair

    if is_image(result) and result.is_file():
        row = score_pair(result, reference, scorers)
        table = Table({result.name: row}, dict(row))
    elif result.is_dir() and reference.is_dir():
        table = score_folders(result, reference, scorers)
    else:
        table = Table({}, score_videos(result, reference, scorers, find_estimator(flow)))
    if with_fid:
        add_frechet(table, result, reference, strict)
    return table


def tell(table: "Table", as_json: bool) -> None:
    """Print the means with their definitions, and why others are missing; as JSON every image too."""
    from osediff_video.metrics.table import definition
    from osediff_video.metrics.video import VIDEO_DEFINITIONS

    definitions = {name: VIDEO_DEFINITIONS.get(name, definition(name)) for name in table.means}
    if as_json:
        facts = {"mean": table.means, "images": table.images, "definitions": definitions, "missing": table.missing}
        click.echo(json.dumps(facts))
        return
    for name, value in table.means.items():
        write(f"{name:14} {value:10.4f}  {definitions[name]}")
    for name, reason in table.missing.items():
        say(f"without {name}: {reason}")


def check_table(path: Path, overwrite: bool) -> None:
    """Refuse a table that cannot be written, before the work. Raises OutputError."""
    from image_core.errors import OutputError

    if path.exists() and not overwrite:
        raise OutputError(f"{path}: already exists; add --overwrite to replace it")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder; create it first")


def find_estimator(flow: str) -> "Estimator":
    from osediff_video.metrics.video import dense_flow
    from osediff_video.temporal.raft import load_raft

    return dense_flow if flow == "dis" else load_raft(Path(flow))


def score_videos(result: Path, reference: Path, scorers: "Scorers", estimate: "Estimator") -> dict[str, float]:
    from image_core.errors import MediaError
    from image_core.images import to_eight_bit
    from osediff_video.metrics.video import VideoScores
    from osediff_video.options import VideoOptions
    from osediff_video.shots.cuts import mark_cuts
    from osediff_video.sources.open import open_source

    sources = [open_source(path, VideoOptions())[0] for path in (result, reference)]
    a, b = (source.info for source in sources)
    if (a.width, a.height) != (b.width, b.height):
        raise MediaError(
            f"{result}: {a.width} x {a.height}, but {reference} is {b.width} x {b.height}; expected one size"
        )
    scores = VideoScores(estimate, scorers)
    for count, (ours, theirs) in enumerate(zip_longest(sources[0].frames(), mark_cuts(sources[1].frames()))):
        if ours is None or theirs is None:
            longer, shorter = (result, reference) if theirs is None else (reference, result)
            say(f"note: {shorter} ends after {count} frames, {longer} goes on; what is beyond was not compared")
            break
        scores.add(to_eight_bit(ours.image), to_eight_bit(theirs.image), theirs.cut)
    return scores.means()
