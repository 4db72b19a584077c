"""Crop the pairs of a pool (train/data/pool.py), as training samples."""

from typing import cast

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset

from image_core.images import enlarge, to_tensor
from train.config import DataConfig, RecipeError
from train.data.damage import jpeg
from train.data.pool import HIGHS, LOW_PX, LOWS, NOTES, pool_folder, toned
from train.data.samples import Sample

STORED_QUALITY, STORED_AS_JPEG = (65, 98), 0.8
MOST_COMB_PX = 4
MARGIN_PX = 4  # of the low image around a crop: what the filter that enlarges it sees


class PoolSamples(Dataset[Sample[str]]):
    """Provide item n, which depends on pool, seed and n alone. Raises RecipeError for an incomplete pool."""

    def __init__(self, data: DataConfig, seed: int, length: int) -> None:
        self.data, self.seed, self.length = data, seed, length
        folder, config = pool_folder(data), data.pool
        names = [HIGHS, *(name.format(n) for n in range(self.shards(length)) for name in (LOWS, NOTES))]
        for name in names:
            if config.growth == 0 and not (folder / name).is_file():
                raise RecipeError(f"{folder}: {name} is missing; make the pool first: python -m train.data.pool RECIPE")
        self.folder = folder
        self.highs = np.load(folder / HIGHS, mmap_mode="r")
        self.photos = len(self.highs) - config.overlays - config.pages
        self.parts: dict[int, tuple[NDArray[np.uint8], NDArray[np.void]]] = {}

    def shards(self, index: int) -> int:
        """Return how many shards item `index` may come from: one more every `growth` items, made meanwhile."""
        config = self.data.pool
        return min(config.shards, 1 + index // config.growth) if config.growth else config.shards

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample[str]:
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length}")
        rng = np.random.default_rng((self.seed, index))
        number, shard = self.draw_high(rng), int(rng.integers(self.shards(index)))
        lows, notes = self.shard(shard)
        note, crop_px = notes[number], self.data.crop_px
        scale = int(note["scale"])
        side = crop_px // scale
        top, left = (int(place) for place in rng.integers(0, LOW_PX - side + 1, 2))
        config, is_photo = self.data.pool, number < self.photos
        whole = lows[number]
        if draws(config.untouched if is_photo else config.stored, rng):
            whole = self.only_small(number, note, rng, 0 if is_photo else STORED_AS_JPEG)
        combed = draws(config.combed, rng)
        whole = with_combs(whole, rng) if combed else whole
        low = enlarged_part(whole, top, left, side, scale)
        y, x = (int(place) + scale * corner for place, corner in zip(note["place"], (top, left), strict=True))
        high = toned(self.highs[number, y : y + crop_px, x : x + crop_px], note)
        turns = int(rng.integers(2)) * 2 if combed else int(rng.integers(4))  # fields are rows, not columns
        pair = np.rot90(np.stack([low, high]), turns, (1, 2))
        pair = pair[:, :, ::-1] if rng.random() < 0.5 else pair
        low_tensor, high_tensor = to_tensor(list(np.ascontiguousarray(pair))).split(1)
        return Sample(low_tensor, high_tensor, "")

    def only_small(self, number: int, note: NDArray[np.void], rng: Generator, jpegs: float) -> NDArray[np.uint8]:
        """Return the low image of a pair without the damage of its shard. jpegs: probability that it is one."""
        (top, left), edge = note["place"], LOW_PX * int(note["scale"])
        good = toned(self.highs[number, top : top + edge, left : left + edge], note)
        small = cv2.resize(good, (LOW_PX, LOW_PX), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        return jpeg(small, STORED_QUALITY, rng) if rng.random() < jpegs else small

    def draw_high(self, rng: Generator) -> int:
        config, kind = self.data.pool, rng.random()
        if kind < config.page_share:
            return int(len(self.highs) - 1 - rng.integers(config.pages))
        if kind < config.page_share + config.overlay_share:
            return int(self.photos + rng.integers(config.overlays))
        return int(rng.integers(self.photos))

    def shard(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.void]]:
        if number not in self.parts:
            try:
                lows, notes = (np.load(self.folder / name.format(number), mmap_mode="r") for name in (LOWS, NOTES))
            except OSError as error:
                advice = "make more of the pool: python -m train.data.pool RECIPE"
                raise RecipeError(f"{self.folder}: shard {number} cannot be read ({error}); {advice}") from error
            self.parts[number] = lows, notes
        return self.parts[number]


def draws(chance: float, rng: Generator) -> bool:
    """Draw whether something of this probability happens; nothing is drawn for what never does."""
    return chance > 0 and rng.random() < chance


def with_combs(low: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Return a low image, (H, W, 3), whose second field is of a moment later, when all has moved sideways."""
    moved_px = int(rng.integers(1, MOST_COMB_PX + 1)) * (1 if rng.random() < 0.5 else -1)
    places = (np.arange(low.shape[1]) - moved_px).clip(0, low.shape[1] - 1)
    combed = low.copy()
    combed[1::2] = low[1::2, places]
    return combed


def enlarged_part(low: NDArray[np.uint8], top: int, left: int, side: int, scale: int) -> NDArray[np.uint8]:
    """Return a part of the enlarged image, (side * scale, side * scale, 3), as if all of it had been enlarged."""
    above, before = min(top, MARGIN_PX), min(left, MARGIN_PX)
    part = low[top - above : top + side + MARGIN_PX, left - before : left + side + MARGIN_PX]
    large = cast(NDArray[np.uint8], enlarge(np.ascontiguousarray(part), part.shape[0] * scale, part.shape[1] * scale))
    y, x, edge = above * scale, before * scale, side * scale
    return large[y : y + edge, x : x + edge]
