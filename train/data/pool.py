"""Make a pool of training pairs, once on a machine: good images, and for each of them many damaged ones.

python -m train.data.pool RECIPE [--workers N] [--set data.folder=IMAGES]

Whole images go through real cameras and encoders here (train/data/damage.py), so that training, which takes crops, does
not wait for them. Everything follows from the recipe, the files and a seed. A folder holds

    highs.npy         (N, 512, 512, 3): photographs, some of them again with contours painted over, pages of contours
    lows-000.npy ...  (N, 128, 128, 3): all of them damaged, each shard in its own ways
    notes-000.npy     what was done: see NOTE

What is there already is kept: while a run trains on the first shards, more can be made.
"""

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import starmap
from pathlib import Path

import cv2
import numpy as np
import platformdirs
from numpy.random import Generator
from numpy.typing import NDArray

from image_core.errors import OseDiffError
from image_core.storage.files import replacing
from train.config import DataConfig, PoolConfig, RecipeError
from train.data.contours import contour_page, with_contours
from train.data.damage import KINDS, MATERIALS, damage
from train.data.files import find_sources, read_training_image
from train.recipe import load_recipe

HIGH_PX, LOW_PX = 512, 128
NOTE = np.dtype([("kind", "u1"), ("scale", "u1"), ("place", "u2", 2), ("order", "u1", 3), ("tone", "f4", (2, 3))])
"""How a pair was made. kind: of KINDS. scale: how much smaller. place: top and left of the part of the high that the
low shows. order: of the high's channels. tone: what black and white became, in levels, by channel."""

HIGHS, LOWS, NOTES = "highs.npy", "lows-{:03}.npy", "notes-{:03}.npy"
HIGH_DRAWS, LOW_DRAWS = 0, 1  # first number of a generator's seed, so that highs and lows share no draws
Images = NDArray[np.uint8]


def pool_folder(data: DataConfig) -> Path:
    """Return where the pool of these settings and files lies: named after them, so that another one is never taken.

    In `data.pool.folder`, by default the user's cache. Raises RecipeError for unknown kinds, or without images.
    """
    if unknown := set(data.pool.mixture) - set(KINDS):
        raise RecipeError(f"data.pool.mixture: unknown kind {min(unknown)!r}; expected {', '.join(KINDS)}")
    free = ("folder", "shards", "growth", "overlay_share", "page_share", "stored", "untouched", "combed")
    settings = {key: value for key, value in dataclasses.asdict(data.pool).items() if key not in free}
    names = [f"{path.name} {path.stat().st_size}" for path in find_sources(data)[0].images]
    story = json.dumps([settings, data.holdout, names], sort_keys=True)
    parent = Path(data.pool.folder) if data.pool.folder else platformdirs.user_cache_path("osediff-video") / "pools"
    return parent / hashlib.sha256(story.encode()).hexdigest()[:12]


def make_pool(data: DataConfig, workers: int = 1) -> Path:
    """Make what is missing of the pool of `data`. Returns its folder. Raises RecipeError."""
    folder, config = pool_folder(data), data.pool
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / HIGHS).is_file():
        save(folder / HIGHS, draw_highs(data))
    missing = [shard for shard in range(config.shards) if not (folder / LOWS.format(shard)).is_file()]
    for shard in make_shards(folder, config, missing, workers):
        print(f"{folder}: shard {shard} of {config.shards}", flush=True)
    return folder


def make_shards(folder: Path, config: PoolConfig, shards: Sequence[int], workers: int) -> Iterator[int]:
    """Make shards, in several processes where there are several workers; yield the number of each that is complete."""
    jobs = [(folder, config, shard) for shard in shards]
    if workers == 1:
        yield from starmap(make_shard, jobs)
        return
    # spawned, not forked: OpenCV's threads do not survive a fork, and a child would wait for them for ever
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as processes:
        for done in as_completed([processes.submit(make_shard, *job) for job in jobs]):
            yield done.result()


def draw_highs(data: DataConfig) -> Images:
    """Return all photographs, then overlays, then pages, (N, 512, 512, 3)."""
    photos = [
        part for path in find_sources(data)[0].images for part in squares(read_training_image(path), data.pool.crops)
    ]
    if not photos:
        raise RecipeError(f"{data.folder}: no image here has sides of {HIGH_PX} px, which a pool needs")
    more = []
    for number in range(data.pool.overlays + data.pool.pages):
        rng = np.random.default_rng((data.pool.seed, HIGH_DRAWS, number))
        if number < data.pool.overlays:
            photo = photos[rng.integers(len(photos))]
            more.append(with_contours(photo, rng, int(rng.integers(1, 5)), data.pool.lattices))
        else:
            more.append(contour_page(HIGH_PX, rng, data.pool.lattices))
    return np.stack(photos + more)


def squares(image: Images, most: int) -> list[Images]:
    """Cut up to `most` parts of 512 x 512 without overlap, spread over the image; none of a smaller one."""
    rows, columns = (side // HIGH_PX for side in image.shape[:2])
    places = [(row, column) for row in range(rows) for column in range(columns)]
    chosen = places[:: max(1, -(-len(places) // most))][:most]
    edges = [(side - count * HIGH_PX) // 2 for side, count in zip(image.shape[:2], (rows, columns), strict=True)]
    corners = [(edges[0] + row * HIGH_PX, edges[1] + column * HIGH_PX) for row, column in chosen]
    return [image[top : top + HIGH_PX, left : left + HIGH_PX] for top, left in corners]


def make_shard(folder: Path, config: PoolConfig, shard: int) -> int:
    """Damage every good image in a way of its own. Returns the number of the shard, which is then complete."""
    cv2.setNumThreads(1)
    highs = np.load(folder / HIGHS, mmap_mode="r")
    lows, notes = np.empty((len(highs), LOW_PX, LOW_PX, 3), np.uint8), np.zeros(len(highs), NOTE)
    for number, high in enumerate(highs):
        rng = np.random.default_rng((config.seed, LOW_DRAWS, shard, number))
        kind, notes[number] = draw_note(config, rng)
        part = LOW_PX * int(notes[number]["scale"])
        top, left = notes[number]["place"]
        lows[number] = damage(
            toned(high[top : top + part, left : left + part], notes[number]), kind, part // LOW_PX, rng
        )
    save(folder / NOTES.format(shard), notes)
    save(folder / LOWS.format(shard), lows)  # last: its presence says that the shard is whole
    return shard


def draw_note(config: PoolConfig, rng: Generator) -> tuple[str, NDArray[np.void]]:
    """Draw the kind of damage and what else is decided beforehand, as NOTE."""
    note = np.zeros((), NOTE)
    kind = list(config.mixture)[rng.choice(len(config.mixture), p=list(config.mixture.values()))]
    larger = kind in MATERIALS and rng.random() < config.half
    scale = 2 if larger else 4
    note["kind"], note["scale"] = KINDS.index(kind), scale
    note["place"] = rng.integers(0, HIGH_PX - LOW_PX * scale + 1, 2)
    note["order"] = rng.permutation(3) if rng.random() < config.recoloured else range(3)
    squeezed = rng.random() < config.squeezed
    note["tone"] = np.sort(rng.uniform(0, 255, (2, 3)), axis=0) if squeezed else np.array([[0.0], [255.0]])
    return kind, note


def toned(image: Images, note: NDArray[np.void]) -> Images:
    """Return the image with its channels reordered and squeezed into part of their range, as `note` says."""
    black, white = note["tone"]
    image = image[..., note["order"]]
    if (white - black == 255).all():
        return np.ascontiguousarray(image)
    return np.rint(black + image * ((white - black) / np.float32(255))).astype(np.uint8)


def save(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array, whole or not at all. Raises OSError."""
    with replacing(path) as part, part.open("wb") as file:
        np.save(file, array)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    try:
        print(make_pool(load_recipe(arguments.recipe, tuple(arguments.settings)).data, arguments.workers))
    except OseDiffError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
