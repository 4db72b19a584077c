"""Let a model of the embedded kind run in 8 bits: measure the ranges of its convolutions, and keep them in its folder.

python -m train.int8 BUNDLE --images FOLDER [--count 32]

Of `count` images, evenly spaced by name, the middle 256 x 256 px are made small, every other one stored as JPEG, and
enlarged again, as `upscale` would. `int8.json` and its hash join the bundle; running it again replaces both. Prints one
JSON line. `osediff-video upscale --engine openvino-int8` uses it.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from image_core.autoencoder import LiteAutoencoder
from image_core.bundle import Bundle, read_bundle, write_config
from image_core.errors import OseDiffError
from image_core.images import enlarge, to_tensor
from image_core.models.int8_ranges import measure_ranges, write_ranges
from image_core.models.load import load_generator
from image_core.options import UpscaleOptions
from image_core.prompts.prompter import load_prompter
from train.config import DataConfig, RecipeError
from train.data.damage import jpeg
from train.data.files import find_sources, read_training_image

SIDE_PX, SCALE = 256, 4
QUALITY = (60.0, 95.0)


def enlarged(paths: Sequence[Path]) -> Iterator[Tensor]:
    """Yield the middle of each image, made small and enlarged again, (1, 3, 256, 256) in [-1, 1]; no small one."""
    rng = np.random.default_rng(0)
    for number, path in enumerate(paths):
        image = read_training_image(path)
        if min(image.shape[:2]) < SIDE_PX:
            continue
        top, left = ((side - SIDE_PX) // 2 for side in image.shape[:2])
        part = image[top : top + SIDE_PX, left : left + SIDE_PX]
        small = cv2.resize(part, (SIDE_PX // SCALE, SIDE_PX // SCALE), interpolation=cv2.INTER_AREA)
        small = small.astype(np.uint8, copy=False)
        yield to_tensor([enlarge(jpeg(small, QUALITY, rng) if number % 2 else small, SIDE_PX, SIDE_PX)])


def add_ranges(bundle: Bundle, images: Path, count: int) -> dict[str, float]:
    """Measure on images below `images`, and write. Returns the ranges. Raises RecipeError, CheckpointError."""
    generator = load_generator(bundle)
    if not isinstance(generator.autoencoder, LiteAutoencoder):
        raise RecipeError(f"{bundle.path}: only models of the embedded kind run in 8 bits")
    paths = find_sources(DataConfig(folder=str(images), holdout=0))[0].images
    parts = list(enlarged(paths[:: max(1, len(paths) // count)][:count]))
    if not parts:
        raise RecipeError(f"{images}: none of the images has sides of {SIDE_PX} px")
    prompter = load_prompter(bundle, UpscaleOptions(), next(generator.parameters()).device)
    ranges = measure_ranges(generator, parts, prompter.embedding(prompter.fixed))
    write_ranges(bundle.path, ranges)
    write_config(bundle.path, bundle.config)
    return ranges


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    arguments = parser.parse_args(words)
    try:
        ranges = add_ranges(read_bundle(arguments.bundle), arguments.images, arguments.count)
    except OseDiffError as error:
        sys.exit(f"error: {error}")
    print(json.dumps({"bundle": str(arguments.bundle), "convolutions": len(ranges), "largest": max(ranges.values())}))


if __name__ == "__main__":
    main()
