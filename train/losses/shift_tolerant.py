"""Measure the shift-tolerant LPIPS, whose trained networks come with the package `stlpips-pytorch` (BSD-2-Clause).

Ghildyal and Liu 2022, https://arxiv.org/abs/2207.13686. AlexNet is for losses, VGG16 for scores: a network that a model
was trained on is no witness of it. Of the package only the weights are read: its code imports an interactive shell, and
unpickles without a bound.
"""

import importlib.util
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import lpips
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.errors import CheckpointError
from image_core.perceptual import Perceptual
from image_core.storage.tensors import read_checkpoint

Network = Literal["vgg", "alex"]
PACKAGE = "stlpips_pytorch"
WIDTHS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256)}
VGG_DEPTHS = (2, 2, 3, 3, 3)


class BlurPool(nn.Module):
    """Resize to a half after a binomial filter, the border reflected, so that a shift of one pixel changes little."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("filt", torch.empty(channels, 1, 3, 3))
        self.filt: Tensor

    def forward(self, features: Tensor) -> Tensor:
        padded = F.pad(features, (2, 2, 2, 2), mode="reflect")
        # every second of all, not a stride of 2: on a CPU that one's way back takes three to five times as long
        return F.conv2d(padded, self.filt, groups=features.shape[1])[..., ::2, ::2]


class Slices(nn.Module):
    """Run the slices of a network one after the other and return the features after each."""

    def __init__(self, layers: list[list[nn.Module]]) -> None:
        super().__init__()
        number = 0
        for index, group in enumerate(layers, 1):
            named = OrderedDict((str(number + place), layer) for place, layer in enumerate(group))
            self.add_module(f"slice{index}", nn.Sequential(named))
            number += len(group)

    def forward(self, image: Tensor) -> list[Tensor]:
        found = []
        for part in self.children():
            image = part(image)
            found.append(image)
        return found


def vgg_layers() -> list[list[nn.Module]]:
    """Return VGG16 up to its last convolution, each pooling split into a maximum and a blur."""
    slices: list[list[nn.Module]] = []
    before = 3
    for width, depth in zip(WIDTHS["vgg"], VGG_DEPTHS, strict=True):
        layers: list[nn.Module] = [nn.MaxPool2d(2, 1), BlurPool(before)] if slices else []
        for _ in range(depth):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        slices.append(layers)
    return slices


def alex_layers() -> list[list[nn.Module]]:
    """Return AlexNet up to its last convolution; the first one has no stride, a blur halves its result."""
    first, second, third, fourth, fifth = WIDTHS["alex"]
    return [
        [nn.Conv2d(3, first, 11, padding=2), BlurPool(first), nn.ReLU()],
        [nn.MaxPool2d(3, 1), BlurPool(first), nn.Conv2d(first, second, 5, padding=2), nn.ReLU()],
        [nn.MaxPool2d(3, 1), BlurPool(second), nn.Conv2d(second, third, 3, padding=1), nn.ReLU()],
        [nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU()],
        [nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU()],
    ]


LAYERS = {"vgg": vgg_layers, "alex": alex_layers}


def empty_distance(network: Network) -> Perceptual:
    """Build the distance without weights. Raises ValueError for another network."""
    if network not in LAYERS:
        raise ValueError(f"network must be one of {', '.join(LAYERS)}, got {network!r}")
    heads = [nn.Conv2d(width, 1, 1, bias=False) for width in WIDTHS[network]]
    parts = SimpleNamespace(
        scaling_layer=lpips.ScalingLayer(), net=Slices(LAYERS[network]()), lins=nn.ModuleList(heads)
    )
    return Perceptual(cast(lpips.LPIPS, parts))


def load_shift_tolerant(network: Network) -> Perceptual:
    """Load the distance with the package's weights, on the CPU. Raises CheckpointError where they are missing."""
    distance = empty_distance(network)
    path = weights_path(network)
    content = read_checkpoint(path)
    # lin0.model.1.weight in the file: the layer behind a dropout that never wakes
    state = {
        f"lins.{name[3]}.weight" if name.startswith("lin") else name: tensor.float() for name, tensor in content.items()
    }
    try:
        distance.load_state_dict(state)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path}: not the weights of the shift-tolerant {network}: {problem}") from error
    return distance


def weights_path(network: Network) -> Path:
    """Return where the package keeps the weights. Raises CheckpointError when it is not installed."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise CheckpointError(
            "the shift-tolerant LPIPS needs the package stlpips-pytorch: pip install 'osediff-video[train]'"
        )
    return Path(package.origin).parent / "weights" / "vST0.0" / f"{network}_shift_tolerant.pth"
