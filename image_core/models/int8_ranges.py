"""Measure, keep and read how large the numbers are that each convolution of the embedded model reads.

An engine that computes in 8 bits spreads its levels over these ranges. They travel with the model as `int8.json`.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from image_core.generator import Generator
from image_core.options import INT8_FILE
from image_core.storage.files import write_whole
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import Rule, check, number

LEAST, MOST = 1e-6, 1e6


def convolutions(generator: Generator) -> dict[str, nn.Conv2d]:
    """Return every convolution by the name under which its range is kept, such as `unet.conv_in`."""
    return {name: module for name, module in generator.named_modules() if isinstance(module, nn.Conv2d)}


@torch.inference_mode()
def measure_ranges(generator: Generator, images: Iterable[Tensor], embedding: Tensor) -> dict[str, float]:
    """Run the generator and return the largest absolute value that each convolution reads, by its name.

    images: each (1, 3, H, W) in [-1, 1], enlarged, sides multiples of 8, at least one. embedding: of the prompt.
    """
    layers = convolutions(generator)
    ranges = dict.fromkeys(layers, LEAST)

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            ranges[name] = max(ranges[name], float(inputs[0].abs().max()))

        return layers[name].register_forward_pre_hook(look)

    hooks = [watch(name) for name in layers]
    try:
        for image in images:
            generator(image, embedding)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def write_ranges(folder: Path, ranges: Mapping[str, float]) -> None:
    """Write `int8.json` to a model's folder. Its hash is not in `bundle.json` yet: see `write_config`."""
    rounded = {name: float(f"{value:.5g}") for name, value in ranges.items()}
    write_whole(folder / INT8_FILE, json.dumps(rounded, indent=1) + "\n")


def read_ranges(folder: Path, generator: Generator) -> dict[str, float]:
    """Read `int8.json`. Raises CheckpointError unless it holds one positive number for each convolution."""
    path = folder / INT8_FILE
    values = read_object(path, "an object")
    rules: dict[str, Rule] = dict.fromkeys(convolutions(generator), number(LEAST, MOST))
    check(values, rules, str(path), needed=list(rules))
    return {name: float(values[name]) for name in rules}
