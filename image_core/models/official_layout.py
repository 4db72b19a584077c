"""Define the layout of the published `osediff.pkl`, read and written.

What its own test script and the importer take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from image_core.errors import OutputError
from image_core.lora import RANK, SCALE, LoraWeights, group_targets, vae_targets
from image_core.models.official import fold, match_targets, read_pickle, split_unet
from image_core.storage.files import replacing


@dataclass(frozen=True)
class OfficialWeights:
    """Hold the content of the published checkpoint: conv_in whole ("weight", "bias"), and LoRA of UNet and VAE."""

    conv_in: Mapping[str, Tensor]
    unet: LoraWeights
    vae: LoraWeights


def read_official(path: Path, unet: nn.Module, vae: nn.Module) -> OfficialWeights:
    """Read a pickle in the published layout, its three UNet adapters folded into one, checked against the base.

    Raises CheckpointError for anything else.
    """
    content = read_pickle(path)
    conv_in, unet_lora = split_unet(unet, content["state_dict_unet"], str(path))
    vae_lora = match_targets(vae, vae_targets(vae), fold(content["state_dict_vae"], str(path)), str(path))
    return OfficialWeights(conv_in, unet_lora, vae_lora)


def write_official(weights: OfficialWeights, path: Path, provenance: Mapping[str, Any]) -> None:
    """Write the published layout, which the official test script reads: the inverse of `read_official`.

    provenance: kept under a key of this name, of plain types. The layout holds no scale: the official code takes alpha
    8 at rank 4. Raises OutputError if `path` exists, ValueError for another scale.
    """
    if path.exists():
        raise OutputError(f"{path}: exists already; remove it or choose another name")
    if {weights.unet.scale, weights.vae.scale} != {SCALE}:
        raise ValueError(f"the published layout stands for a LoRA scale of {SCALE}, got {weights.unet.scale}")
    groups = group_targets(weights.unet.pairs)
    tensors = {f"conv_in.base_layer.{name}": tensor for name, tensor in weights.conv_in.items()}
    for group, names in groups.items():
        tensors |= unfold(weights.unet, names, f"default_{group}")
    content = {
        "rank_unet": RANK,
        "rank_vae": RANK,
        **{f"unet_lora_{group}_modules": names for group, names in groups.items()},
        "vae_lora_encoder_modules": list(weights.vae.pairs),
        "state_dict_unet": tensors,
        "state_dict_vae": unfold(weights.vae, list(weights.vae.pairs), "default_encoder"),
        "provenance": dict(provenance),
    }
    with replacing(path) as part:
        torch.save(content, part)


def unfold(weights: LoraWeights, names: Sequence[str], adapter: str) -> dict[str, Tensor]:
    """Undo `fold` for some layers."""
    return {
        f"{name}.lora_{letter}.{adapter}.weight": tensor.contiguous()
        for name in names
        for letter, tensor in zip("AB", weights.pairs[name], strict=True)
    }
