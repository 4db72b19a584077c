"""Training pairs: crops of good pictures and what a bad camera would have made of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from image_core.images import enlarge, to_tensor
from train.config import DataConfig, RecipeError
from train.degrade import PRESETS, degrade

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


def list_pictures(folder: Path) -> list[Path]:
    """Every picture file below `folder`, sorted by path. Raises RecipeError when there is none."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise RecipeError(f"{folder}: no pictures here ({', '.join(sorted(SUFFIXES))}); set data.folder")
    return found


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8. Raises RecipeError when the file is no picture."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise RecipeError(f"{path}: not a readable picture; remove it from the training folder")
    return image


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Item n: (enlarged low quality, high quality), each (3, crop, crop) in [-1, 1]. Depends on seed and n alone."""

    def __init__(self, paths: list[Path], config: DataConfig, seed: int, length: int) -> None:
        self.images = [read_picture(path) for path in paths]
        self.config, self.seed, self.length = config, seed, length
        self.names = list(config.mixture)
        for path, image in zip(paths, self.images, strict=True):
            if min(image.shape[:2]) < config.crop_px:
                raise RecipeError(
                    f"{path}: {image.shape[1]} x {image.shape[0]} is smaller than crop_px {config.crop_px}"
                )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        high = self.random_crop(rng)
        preset = PRESETS[self.names[rng.choice(len(self.names), p=list(self.config.mixture.values()))]]
        low = degrade(high.astype(np.float32) / np.float32(255), preset, rng)
        return to_tensor([enlarge(low, *high.shape[:2])])[0], to_tensor([high])[0]

    def random_crop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        image, size = self.images[rng.integers(len(self.images))], self.config.crop_px
        top, left = (rng.integers(side - size + 1) for side in image.shape[:2])
        patch = np.rot90(image[top : top + size, left : left + size], int(rng.integers(4)))
        return np.ascontiguousarray(patch[:, ::-1] if rng.random() < 0.5 else patch)


def batches(pairs: Pairs, batch: int, first_step: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches from step `first_step` on, in the order of the items: a resumed run reads what it would have read."""
    order = range(first_step * batch, len(pairs))
    options: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": 4} if workers else {}
    return iter(
        DataLoader(
            pairs, batch, sampler=order, num_workers=workers, worker_init_fn=_one_thread, drop_last=True, **options
        )
    )


def _one_thread(worker: int) -> None:  # noqa: ARG001 - the loader passes the number
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
