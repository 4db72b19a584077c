"""The embedded models with their real weights, and what their images are held against."""

from collections.abc import Callable

import cv2
import torch

from image_core.images import ImageArray, enlarge
from image_core.models.catalogue import EMBEDDED, find_model
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions

SCALE = 4
MODELS = sorted(path.name for path in EMBEDDED.iterdir() if path.is_dir())


def embedded(name: str) -> Callable[[ImageArray], ImageArray]:
    """A model by name, in float32 on the CPU."""
    upscaler = load_upscaler(find_model(name), UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    return lambda low: upscaler([low])[0]


def plain(low):
    return enlarge(low, low.shape[0] * SCALE, low.shape[1] * SCALE)


def small(image):
    return cv2.resize(image, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)
