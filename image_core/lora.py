"""Define the low-rank adapters of OSEDiff: which layers carry them, how they are added, merged and kept.

LoRA, https://arxiv.org/abs/2106.09685: W + scale * B A, with scale = alpha / rank.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from image_core.errors import CheckpointError

RANK, ALPHA = 4, 8
SCALE = ALPHA / RANK
"""2.0: the published checkpoint does not store it, and its trainer left alpha at peft's default of 8."""


@dataclass(frozen=True)
class LoraWeights:
    """Hold adapters by module name: A (rank, in, ...) and B (out, rank, ...), for linear layers and convolutions."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    scale: float = SCALE


def adaptable(module: nn.Module) -> list[str]:
    """Return the names of every linear layer and convolution below `module`."""
    return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def vae_targets(vae: nn.Module) -> list[str]:
    """Return the encoder and what turns its features into moments; the decoder stays frozen. 32 layers in SD 2.1."""
    return [name for name in adaptable(vae) if name.startswith("encoder.") or name == "quant_conv"]


def unet_targets(unet: nn.Module) -> dict[str, list[str]]:
    """Return every layer but those of the timestep, in the three adapters of the published code.

    94 + 148 + 16 in SD 2.1.
    """
    return group_targets(name for name in adaptable(unet) if "time_emb" not in name)


def group_targets(names: Iterable[str]) -> dict[str, list[str]]:
    """Group layers of a UNet by the adapter of the published code that they belong to."""
    groups: dict[str, list[str]] = {"encoder": [], "decoder": [], "others": []}
    for name in names:
        if name == "conv_in" or name.startswith("down_blocks."):
            groups["encoder"].append(name)
        elif name == "conv_out" or name.startswith("up_blocks."):
            groups["decoder"].append(name)
        else:
            groups["others"].append(name)
    return groups


def check_weights(module: nn.Module, weights: LoraWeights, where: str) -> None:
    """Raise CheckpointError naming the first adapter that fits no layer of `module`, or not its shape."""
    layers = dict(module.named_modules())
    for name, (a, b) in weights.pairs.items():
        layer = layers.get(name)
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            raise CheckpointError(f"{where}: {name} has LoRA, but the base model has no such layer")
        if a.ndim < 2 or b.ndim < 2:
            raise CheckpointError(f"{where}: LoRA of {name} has shapes {tuple(a.shape)} and {tuple(b.shape)}")
        out, into, *kernel = layer.weight.shape
        expected = ((a.shape[0], into, *kernel), (out, a.shape[0], *(1 for _ in kernel)))
        if (tuple(a.shape), tuple(b.shape)) != expected:
            shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
            raise CheckpointError(
                f"{where}: LoRA of {name} has shapes {shapes}, expected {expected[0]} and {expected[1]}"
            )


@torch.no_grad()
def merge_lora(module: nn.Module, weights: LoraWeights, strength: float = 1.0) -> None:
    """Fold adapters into the layers of `module`, in place. strength: 1 is as trained, 0 is the base."""
    for name in weights.pairs:
        weight = module.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        weight.copy_(merged(f"{name}.weight", weight, weights, strength))


def merged(key: str, weight: Tensor, weights: LoraWeights, strength: float = 1.0) -> Tensor:
    """Return the weight of the name `key` with its adapter added, float32; without one as it is."""
    name = key.removesuffix(".weight")
    if name == key or name not in weights.pairs:
        return weight
    # float32: a sum over rank 4 loses nothing that shows, and a full UNet is merged at every start
    a, b = (part.flatten(1).float() for part in weights.pairs[name])
    return weight.float() + ((strength * weights.scale * b) @ a).reshape(weight.shape)


def add_lora(module: nn.Module, targets: Iterable[str], name: str = "default", alpha: float = ALPHA) -> None:
    """Put trainable adapters of rank 4 on exactly these layers; B starts at zero. All else keeps its requires_grad."""
    from peft import LoraConfig, inject_adapter_in_model

    names = set(targets)
    config = LoraConfig(
        r=RANK, lora_alpha=alpha, target_modules=_exactly(names), init_lora_weights="gaussian", bias="none"
    )
    gradients = {parameter: parameter.requires_grad for parameter in module.parameters()}
    inject_adapter_in_model(config, module, adapter_name=name)
    for parameter, needed in gradients.items():
        parameter.requires_grad_(needed)  # peft freezes what it is put on


def _exactly(names: Iterable[str]) -> str:
    """Return a pattern that peft matches against whole names.

    A list would match endings, and catch other layers too.
    """
    return "(" + "|".join(name.replace(".", r"\.") for name in sorted(names)) + ")"


def to_tensors(weights: LoraWeights) -> dict[str, Tensor]:
    """Flatten adapters to a dictionary for safetensors: `<module>.lora_A` and `<module>.lora_B`."""
    return {
        f"{name}.lora_{letter}": tensor.contiguous()
        for name, pair in weights.pairs.items()
        for letter, tensor in zip("AB", pair, strict=True)
    }


def from_tensors(tensors: Mapping[str, Tensor], scale: float, where: str) -> LoraWeights:
    """Undo `to_tensors`. Raises CheckpointError naming the first key without its twin."""
    names = sorted({key.removesuffix(".lora_A").removesuffix(".lora_B") for key in tensors})
    for name in names:
        for letter in "AB":
            if f"{name}.lora_{letter}" not in tensors:
                raise CheckpointError(f"{where}: LoRA tensor {name}.lora_{letter} is missing")
    return LoraWeights({name: (tensors[f"{name}.lora_A"], tensors[f"{name}.lora_B"]) for name in names}, scale)
