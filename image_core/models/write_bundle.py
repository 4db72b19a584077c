"""Write a model as a bundle: networks, embeddings of prompts, adapters."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from image_core.autoencoder import LiteAutoencoder
from image_core.bundle import Bundle, BundleConfig, new_bundle, write_config
from image_core.generator import KLAutoencoder
from image_core.lora import LoraWeights, to_tensors
from image_core.small_unet import SmallUNet


def write_bundle(
    path: Path,
    config: BundleConfig,
    *,
    autoencoder: nn.Module,
    unet: nn.Module,
    prompts: Sequence[Tensor],
    lora: Mapping[str, LoraWeights] | None = None,
    parts: Sequence[Callable[[Path, torch.dtype], None]] = (),
    dtype: torch.dtype = torch.float32,
) -> Bundle:
    """Write the folder `path`, whole or not at all. Tensors keep their dtype.

    lora: adapters by "unet" and "vae". parts: each writes more of the model, such as a text encoder, into the folder,
    in `dtype`.
    Raises OutputError if `path` exists, ValueError if texts and embeddings differ in number.
    """
    if len(prompts) != len(config.prompts):
        raise ValueError(f"{len(config.prompts)} prompts but {len(prompts)} embeddings")
    with new_bundle(path) as part:
        write_network(part, "unet", unet)
        write_network(part, "autoencoder", autoencoder.vae if isinstance(autoencoder, KLAutoencoder) else autoencoder)
        write_prompts(part, prompts)
        for name, weights in (lora or {}).items():
            write_lora(part, name, weights)
        for write in parts:
            write(part, dtype)
        config = write_config(part, config)
    return Bundle(path, config)


def write_network(folder: Path, name: str, module: nn.Module) -> None:
    """Write settings and weights of the UNet, the VAE or the embedded autoencoder under `name`."""
    if isinstance(module, LiteAutoencoder | SmallUNet):
        settings = dataclasses.asdict(module.config)
    else:
        settings = {k: v for k, v in module.config.items() if not k.startswith("_")}  # type: ignore[union-attr, operator]
    (folder / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    # contiguous: channels-last memory is a matter of the machine, not of the file
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, folder / f"{name}.safetensors")


def write_prompts(folder: Path, embeddings: Sequence[Tensor]) -> None:
    """Write the embeddings of the stored prompts, each (1, L, D), in their order."""
    save_file({str(i): p.contiguous() for i, p in enumerate(embeddings)}, folder / "prompts.safetensors")


def write_lora(folder: Path, name: str, weights: LoraWeights) -> None:
    """Write adapters that are not merged; name: "unet" or "vae"."""
    save_file(to_tensors(weights), folder / f"lora.{name}.safetensors", {"scale": repr(weights.scale)})
