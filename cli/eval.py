"""`osediff-video eval`"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.image import SUFFIXES
from cli.model import say

if TYPE_CHECKING:
    from osediff_video.flow import Estimator
    from osediff_video.metrics import Scorers


@click.command(name="eval")
@click.argument("result", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path))
@click.option(
    "--lpips",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="ImageNet weights of AlexNet for LPIPS and tLP.  [default: torch's cache, if they are there]",
)
@click.option("--also", multiple=True, metavar="NAME", help="A metric of pyiqa: niqe, musiq, dists, ...; repeatable.")
@click.option(
    "--flow", default="dis", show_default=True, metavar="dis|FILE", help="Finds motion; FILE: RAFT's weights."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def eval(result: Path, reference: Path, lpips: Path | None, also: tuple[str, ...], flow: str, as_json: bool) -> None:
    """Score RESULT against REFERENCE: two films, two pictures, or two folders of pictures with equal names."""
    from osediff_video.film_metrics import FILM_DEFINITIONS
    from osediff_video.metrics import DEFINITIONS, mean_scores

    scorers = find_scorers(lpips, also)
    if result.suffix.lower() in SUFFIXES and result.is_file():
        rows = {result.name: score_pictures(result, reference, scorers)}
        means = rows[result.name]
    elif result.is_dir() and reference.is_dir():
        rows = score_folders(result, reference, scorers)
        means = mean_scores(list(rows.values()))
    else:
        rows, means = {}, score_films(result, reference, scorers, find_estimator(flow))
    definitions = DEFINITIONS | FILM_DEFINITIONS | {name: f"{name} of pyiqa" for name in also}
    if as_json:
        click.echo(json.dumps({"mean": means, "pictures": rows, "definitions": {n: definitions[n] for n in means}}))
        return
    for name, value in means.items():
        click.echo(f"{name:14} {value:10.4f}  {definitions[name]}")


def find_scorers(lpips: Path | None, also: tuple[str, ...]) -> "Scorers":
    """By name, what scores a pair of pictures with a network. LPIPS is there if its weights are."""
    from image_core.errors import CheckpointError
    from osediff_video.scorers import lpips_distance, pyiqa_score

    found: Scorers = {}
    try:
        found["lpips"] = lpips_distance(lpips)
    except CheckpointError as error:
        if lpips is not None:
            raise
        say(f"without LPIPS and tLP: {error}")
    return found | {name: pyiqa_score(name) for name in also}


def find_estimator(flow: str) -> "Estimator":
    from osediff_video.film_metrics import dense_flow
    from osediff_video.raft import load_raft

    return dense_flow if flow == "dis" else load_raft(Path(flow))


def score_pictures(result: Path, reference: Path, scorers: "Scorers") -> dict[str, float]:
    from image_core.errors import ImageError
    from osediff_video.metrics import picture_scores
    from osediff_video.picture import eight_bit, read_picture

    a, b = (read_picture(path).image for path in (result, reference))
    if a.shape != b.shape:
        raise ImageError(
            f"{result}: {a.shape[1]} x {a.shape[0]}, but {reference} is {b.shape[1]} x {b.shape[0]}; expected one size"
        )
    return picture_scores(eight_bit(a), eight_bit(b), scorers)


def score_folders(result: Path, reference: Path, scorers: "Scorers") -> dict[str, dict[str, float]]:
    from image_core.errors import ImageError

    names = {path.stem: path for path in reference.iterdir() if path.suffix.lower() in SUFFIXES}
    found = sorted(path for path in result.iterdir() if path.suffix.lower() in SUFFIXES and path.stem in names)
    if not found:
        raise ImageError(f"{result}: holds no picture with the name of one in {reference}")
    return {path.name: score_pictures(path, names[path.stem], scorers) for path in found}


def score_films(result: Path, reference: Path, scorers: "Scorers", estimate: "Estimator") -> dict[str, float]:
    from image_core.errors import MediaError
    from osediff_video.film_metrics import FilmScores
    from osediff_video.options import FilmOptions
    from osediff_video.picture import eight_bit
    from osediff_video.shots import mark_cuts
    from osediff_video.source import open_source

    sources = [open_source(path, FilmOptions())[0] for path in (result, reference)]
    a, b = (source.info for source in sources)
    if (a.width, a.height) != (b.width, b.height):
        raise MediaError(
            f"{result}: {a.width} x {a.height}, but {reference} is {b.width} x {b.height}; expected one size"
        )
    scores = FilmScores(estimate, scorers)
    for ours, theirs in zip(sources[0].frames(), mark_cuts(sources[1].frames()), strict=False):
        scores.add(eight_bit(ours.image), eight_bit(theirs.image), theirs.cut)
    return scores.means()
