"""Measure LPIPS, the learned perceptual distance, without a download behind the user's back.

Zhang et al. 2018, https://arxiv.org/abs/1801.03924, version 0.1. The linear heads come with the package `lpips`; the
network below them is torchvision's, trained on ImageNet, and has to be on this machine already.
"""

import warnings
from pathlib import Path
from typing import Literal, Self

import lpips
import torch
from torch import Tensor, nn
from torchvision.models import AlexNet_Weights, VGG16_Weights

from image_core.errors import CheckpointError
from image_core.storage.tensors import read_checkpoint

LPIPS_LEAST_SIDE_PX = 32  # AlexNet has nothing left below
BACKBONES = {"vgg": VGG16_Weights.IMAGENET1K_V1.url, "alex": AlexNet_Weights.IMAGENET1K_V1.url}


class Perceptual(nn.Module):
    """Measure the distance of two images, frozen: gradients reach the images only."""

    def __init__(self, model: lpips.LPIPS) -> None:
        super().__init__()
        self.scaling_layer, self.net, self.lins = model.scaling_layer, model.net, model.lins
        self.requires_grad_(False).train(False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - part of a model in training; its dropout must not wake
        return super().train(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the distance of two images.

        first, second: (B, 3, H, W) in [-1, 1]. Returns (B,), float32, 0 for equal images.

        Raises ValueError when the shapes differ or a side is below 32.
        """
        if first.shape != second.shape or first.ndim != 4 or first.shape[1] != 3:
            raise ValueError(f"expected two (B, 3, H, W), got {tuple(first.shape)} and {tuple(second.shape)}")
        if min(first.shape[2:]) < LPIPS_LEAST_SIDE_PX:
            raise ValueError(f"LPIPS needs sides of {LPIPS_LEAST_SIDE_PX} at least, got {tuple(first.shape[2:])}")
        total = first.new_zeros(len(first), dtype=torch.float32)
        features = (self.net(self.scaling_layer(image)) for image in (first, second))
        for head, a, b in zip(self.lins, *features, strict=True):
            total = total + head((unit_length(a) - unit_length(b)).square()).mean((1, 2, 3))
        return total


def unit_length(features: Tensor) -> Tensor:
    """Return (B, C, h, w), each position scaled to length 1 over C.

    As in the package, but where nothing fires: there its square root has an infinite slope, and one black corner
    turns every gradient into NaN.
    """
    features = features.float()
    return features / ((features.square().sum(1, keepdim=True) + 1e-20).sqrt() + 1e-10)


def load_lpips(network: Literal["vgg", "alex"], backbone: Path | None = None) -> Perceptual:
    """Load LPIPS on VGG16 (for training) or AlexNet (for the published tables), on the CPU.

    backbone: torchvision's state dict of that network; by default the one in torch's hub cache. Nothing is downloaded:
    raises CheckpointError with the manual steps when the file is missing, and when it holds another network.
    """
    if network not in BACKBONES:
        raise ValueError(f"network must be one of {', '.join(BACKBONES)}, got {network!r}")
    url = BACKBONES[network]
    path = backbone or Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        hint = "" if backbone else ", or give its path"
        raise CheckpointError(
            f"{path}: no such file. LPIPS ({network}) needs torchvision's ImageNet weights: download {url} on any "
            f"machine and put it there{hint}"
        )
    with warnings.catch_warnings():
        # the package asks torchvision for an empty network in words of an older version
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        with torch.device("meta"):  # no time or memory for random weights that are replaced below
            model = lpips.LPIPS(pretrained=False, net=network, pnet_rand=True, verbose=False)
    heads = read_checkpoint(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{network}.pth")
    state = {f"lins.{name.removeprefix('lin')}": tensor for name, tensor in heads.items()}
    content = read_checkpoint(path)
    for name, parameter in model.net.named_parameters():
        key = "features." + name.partition(".")[2]  # slice2.5.weight in one, features.5.weight in the other
        weight = content.get(key)
        if weight is None or weight.shape != parameter.shape:
            problem = "is missing" if weight is None else f"has shape {tuple(weight.shape)}"
            expected = f"{tuple(parameter.shape)}; this is not torchvision's {network} ({url})"
            raise CheckpointError(f"{path}: {key} {problem}, expected {expected}")
        state[f"net.{name}"] = weight.float()
    distance = Perceptual(model)
    distance.load_state_dict(state | model.scaling_layer.state_dict(prefix="scaling_layer."), assign=True)
    return distance.requires_grad_(False)
