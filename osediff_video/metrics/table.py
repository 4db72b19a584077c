"""Score a folder of images against references: every pair, the mean, and the table of the OSEDiff paper."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from image_core.errors import CheckpointError, ImageError, ModelNotFoundError
from image_core.images import to_eight_bit
from osediff_video.images.image_file import read_image
from osediff_video.metrics.image import DEFINITIONS, Scorers, image_scores, mean_scores
from osediff_video.metrics.networks import frechet_distance, lpips_distance, pyiqa_score
from osediff_video.metrics.text import text_kept
from osediff_video.suffixes import is_image

PAPER = ("psnr_y", "ssim_y", "lpips", "dists", "fid", "niqe", "musiq", "maniqa-pipal", "clipiqa")
"""Columns of the paper's table, in its order. The first two are computed here, the others by lpips or pyiqa."""

PYIQA = PAPER[3:]


SIZE_LABEL = re.compile(r"_(x\d+(\.\d+)?|\d+p|[48]k|\d+x\d+)$", re.IGNORECASE)
"""What `osediff image` adds to the names of its results."""

FID_DEFINITION = "fid of pyiqa: all images of one folder against all of the other, resized as in clean-fid"


@dataclass
class Table:
    """Hold the scores of a set of images.

    images: scores by file name.
    means: over the images, and scores that only a set of images has.

    missing: why a score that was asked for could not be computed, by name. unpaired: files that have no partner.
    """

    images: dict[str, dict[str, float]]
    means: dict[str, float]
    missing: dict[str, str] = field(default_factory=dict)
    unpaired: list[str] = field(default_factory=list)

    def only(self, names: Sequence[str]) -> "Table":
        """Return the table with these scores alone, in this order."""
        rows = {file: {name: row[name] for name in names if name in row} for file, row in self.images.items()}
        means = {name: self.means[name] for name in names if name in self.means}
        return Table(rows, means, self.missing, self.unpaired)

    def as_csv(self) -> str:
        """Return one line per image, then the mean; a field is empty where an image has no such score."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["image", *self.means], lineterminator="\n")
        writer.writeheader()
        for file, row in [*self.images.items(), ("mean", self.means)]:
            writer.writerow({"image": file} | {name: row[name] for name in self.means if name in row})
        return text.getvalue()


def definition(name: str) -> str:
    return FID_DEFINITION if name == "fid" else DEFINITIONS.get(name, f"{name} of pyiqa")


def find_scorers(
    also: Sequence[str],
    lpips: Path | None = None,
    niqe: Path | None = None,
    strict: bool = True,
    text: bool = False,
) -> tuple[Scorers, dict[str, str]]:
    """Return the networks that score a pair of images, by name; and why others cannot, by name.

    LPIPS is there if its weights are. also: metrics of pyiqa. lpips, niqe: files with weights.
    strict: one of `also` that cannot be had is an error, CheckpointError or ModelNotFoundError. text: how much of what
    is written is readable too; an error without the extra `ocr`.
    """
    scorers: Scorers = {}
    missing: dict[str, str] = {}

    def put(name: str, load: Callable[[], Callable], needed: bool) -> None:
        try:
            scorers[name] = load()
        except (CheckpointError, ModelNotFoundError) as error:
            if needed:
                raise
            missing[name] = str(error)

    put("lpips", partial(lpips_distance, lpips), lpips is not None)
    if text:
        put("text", text_kept, True)
    for name in also:
        parameters = niqe if name == "niqe" else None
        put(name, partial(pyiqa_score, name, parameters), strict or parameters is not None)
    return scorers, missing


def score_pair(result: Path, reference: Path, scorers: Scorers) -> dict[str, float]:
    """Score one pair of files. Raises ImageError for images that cannot be read or differ in size."""
    a, b = (read_image(path).image for path in (result, reference))
    if a.shape != b.shape:
        raise ImageError(
            f"{result}: {a.shape[1]} x {a.shape[0]}, but {reference} is {b.shape[1]} x {b.shape[0]}; expected one size"
        )
    return image_scores(to_eight_bit(a), to_eight_bit(b), scorers)


def by_name(folder: Path, paths: Sequence[Path], stems: set[str]) -> dict[str, Path]:
    """Return files by the name they are paired by: the stem, less the size at its end unless `stems` has it whole.

    Raises ImageError for two of one name.
    """
    named: dict[str, Path] = {}
    for path in paths:
        name = path.stem if path.stem in stems else SIZE_LABEL.sub("", path.stem)
        if name in named:
            raise ImageError(
                f"{folder}: {named[name].name} and {path.name} would both be paired with {name!r}; keep one of them"
            )
        named[name] = path
    return named


def score_folders(result: Path, reference: Path, scorers: Scorers) -> Table:
    """Score every image that has a partner of its name, whatever the suffix, and but for `_x4` or `_1080p` at its end.

    Raises ImageError when none has, or when several of one folder have the same.
    """
    references = [p for p in sorted(reference.iterdir()) if is_image(p)]
    stems = {path.stem for path in references}
    ours = by_name(result, [p for p in sorted(result.iterdir()) if is_image(p)], stems)
    theirs = by_name(reference, references, stems)
    paired = [name for name in ours if name in theirs]
    if not paired:
        raise ImageError(f"{result}: has no file name in common with {reference}")
    rows = {ours[name].name: score_pair(ours[name], theirs[name], scorers) for name in paired}
    unpaired = [str(folder[name]) for folder in (ours, theirs) for name in folder if name not in paired]
    return Table(rows, mean_scores(list(rows.values())), unpaired=unpaired)


def add_frechet(table: Table, result: Path, reference: Path, strict: bool) -> None:
    """Add FID to the means, or report why it is missing. strict: raise instead."""
    try:
        table.means["fid"] = frechet_distance(result, reference)
    except (CheckpointError, ModelNotFoundError, ImageError) as error:
        if strict:
            raise
        table.missing["fid"] = str(error)
