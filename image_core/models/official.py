"""Make a bundle from the published `osediff.pkl` and a Stable Diffusion folder or file."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from image_core.bundle import Bundle, BundleConfig, new_bundle, write_config
from image_core.errors import CheckpointError, OutputError
from image_core.lora import LoraWeights, check_weights, merge_lora, merged, unet_targets, vae_targets
from image_core.models.base import BaseFacts, check_base, load_vae, open_unet
from image_core.models.licences import BASE_LICENCES, TAGGER_LICENCE, TINY_LICENCE
from image_core.models.single_file import read_vae, unfold_single_file
from image_core.models.tiny_decoder import copy_tiny
from image_core.models.write_bundle import write_lora, write_network, write_prompts
from image_core.options import UpscaleOptions
from image_core.prompts.ram import read_ram
from image_core.prompts.text_encoder import TextEncoder
from image_core.storage.files import sha256
from image_core.storage.json_rules import shown
from image_core.storage.tensors import check_finite, fill, plain_tensors, read_torch

TOP_KEYS = {
    "rank_unet", "rank_vae", "unet_lora_encoder_modules", "unet_lora_decoder_modules", "unet_lora_others_modules",
    "vae_lora_encoder_modules", "state_dict_unet", "state_dict_vae",
}  # fmt: skip
SUMMARY = "The published OSEDiff: invents plausible detail; wants a GPU."
FACE_SUMMARY = "The published OSEDiff for faces, trained on portraits: invents plausible detail; wants a GPU."


@dataclass(frozen=True)
class Ingredients:
    """Name the files a bundle is made of.

    base: folder in diffusers layout (unet, vae, text_encoder, tokenizer, scheduler), or a single file of 2.1-base; then
    tokenizer: a folder. weights: the published pickle, general or for faces. vae: instead of the base's, a folder or
    file. tagger, dape: ram_swin_large_14m.pth with its two lists beside it, and DAPE.pth. tiny_decoder: folder of an
    AutoencoderTiny that decodes in place of the VAE.
    """

    base: Path
    weights: Path
    vae: Path | None = None
    tokenizer: Path | None = None
    tagger: Path | None = None
    dape: Path | None = None
    tiny_decoder: Path | None = None


def import_official(
    base: Path, weights: Path, out: Path, *, merge: bool, prompts: Sequence[str] = (), half: bool = False
) -> Bundle:
    """Make a bundle of a base and the published weights alone."""
    return make_bundle(Ingredients(base, weights), out, merge=merge, prompts=prompts, half=half)


def make_bundle(
    parts: Ingredients, out: Path, *, merge: bool, prompts: Sequence[str] = (), half: bool = False
) -> Bundle:
    """Write the bundle `out`; no code in any file is run.

    merge: fold LoRA into the weights. prompts: stored beside the empty one, so that no text encoder is needed for them.
    half: store float16. Raises CheckpointError for parts of the wrong kind, OutputError if `out` exists.
    """
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it or choose another --out")
    if parts.dape is not None and parts.tagger is None:
        raise CheckpointError(f"{parts.dape}: these adapters need the tagger they change, ram_swin_large_14m.pth")
    if parts.base.is_file():
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            base = unfold_single_file(parts.base, parts.tokenizer, Path(folder) / parts.base.stem)
            return _make(base, parts, out, merge, prompts, half)
    return _make(parts.base, parts, out, merge, prompts, half)


def _make(base: Path, parts: Ingredients, out: Path, merge: bool, prompts: Sequence[str], half: bool) -> Bundle:
    """Make one part after the other, and let go of each, so that memory never holds more than the largest."""
    facts = check_base(base)
    content, where = read_pickle(parts.weights), str(parts.weights)
    texts = tuple(dict.fromkeys(["", *prompts]))
    dtype = torch.float16 if half else torch.float32
    with new_bundle(out) as part:
        unet, weights = open_unet(base)
        conv_in, lora = split_unet(unet, content["state_dict_unet"], where)
        own = {f"conv_in.{name}": tensor for name, tensor in conv_in.items()}

        def adapted(key: str, tensor: Tensor) -> Tensor:
            return merged(key, own.get(key, tensor), lora) if merge else own.get(key, tensor)

        fill(unet, weights, str(base / "unet"), dtype, adapted)
        write_network(part, "unet", unet)
        if not merge:
            write_lora(part, "unet", lora)
        del unet
        vae = load_vae(base)
        if parts.vae is not None:
            vae = read_vae(parts.vae, vae)
        lora_vae = match_targets(vae, vae_targets(vae), fold(content["state_dict_vae"], where), where)
        if merge:
            merge_lora(vae, lora_vae)
        else:
            write_lora(part, "vae", lora_vae)
        tiny = copy_tiny(parts.tiny_decoder, vae.config.latent_channels, part) if parts.tiny_decoder else None
        write_network(part, "autoencoder", nn.Module.to(vae, dtype))  # diffusers' own warns of nothing
        del vae, content
        text = TextEncoder(base)
        write_prompts(part, list(text.encode(texts).to(dtype).split(1)))
        text.save(part, dtype)
        del text
        if parts.tagger is not None:
            read_ram(parts.tagger, parts.dape).save(part, dtype)
        described = describe(out.name, facts, parts, texts, merge)
        config = write_config(part, replace(described, tiny_decoder=tiny))
    return Bundle(out, config)


def describe(name: str, facts: BaseFacts, parts: Ingredients, prompts: tuple[str, ...], merged: bool) -> BundleConfig:
    """Describe the bundle: settings of the one step, licence, and the files it was made of."""
    used = {"weights": parts.weights, "vae": parts.vae, "tagger": parts.tagger, "dape": parts.dape}
    used["tiny_decoder"] = parts.tiny_decoder
    is_face = "face" in parts.weights.name
    card: dict[str, Any] = {"summary": FACE_SUMMARY if is_face else SUMMARY}
    card |= {"base": parts.base.name, "merged": merged}
    for what, path in used.items():
        if path is not None:
            card[what] = path.name
            if path.is_file():
                card[f"{what}_sha256"] = sha256(path)
    return BundleConfig(
        name=name,
        autoencoder="kl",
        timestep=facts.timestep,
        alpha_bar=facts.alpha_bar,
        latent_scale=facts.latent_scale,
        # its authors restore aligned portraits at their own size, and leave the colours to the model
        color_fix="none" if is_face else "adain",
        scale=1.0 if is_face else UpscaleOptions.scale,
        prompts=prompts,
        licence=f"OSEDiff weights: Apache-2.0; {BASE_LICENCES.get(facts.text_width, 'base: see its own licence')}"
        + (TAGGER_LICENCE if parts.tagger else "")
        + (TINY_LICENCE if parts.tiny_decoder else ""),
        card=card,
    )


def read_pickle(path: Path) -> dict[str, Any]:
    """Read the published checkpoint. Raises CheckpointError for anything else, code in the file included."""
    content = read_torch(path)
    for key in sorted(TOP_KEYS - content.keys()):
        raise CheckpointError(f"{path}: key {key!r} is missing; is this the published osediff.pkl?")
    for key in ("state_dict_unet", "state_dict_vae"):
        content[key] = plain_tensors(content[key], f"{path}: {key}")
        for name, tensor in content[key].items():
            if not tensor.is_floating_point():
                raise CheckpointError(f"{path}: {name} holds {tensor.dtype}, expected floating-point numbers")
            check_finite(tensor, tensor, f"{path}: {name}")
    return content


def split_unet(unet: nn.Module, tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], LoraWeights]:
    """Split off the retrained conv_in, and the three adapters folded into one: they share no layer."""
    conv_in = {}
    for name, parameter in unet.get_submodule("conv_in").named_parameters():
        key = f"conv_in.base_layer.{name}"
        if key not in tensors:
            raise CheckpointError(f"{where}: tensor {key} is missing")
        if tensors[key].shape != parameter.shape:
            shapes = f"{tuple(tensors[key].shape)}, expected {tuple(parameter.shape)}"
            raise CheckpointError(f"{where}: {key} has shape {shapes}; was it trained on another base?")
        conv_in[name] = tensors[key].float()
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith("conv_in.base_layer.")}
    expected = [name for names in unet_targets(unet).values() for name in names]
    return conv_in, match_targets(unet, expected, fold(rest, where), where)


def fold(tensors: Mapping[str, Tensor], where: str) -> dict[str, dict[str, Tensor]]:
    """Group `layer.lora_A.default_encoder.weight` to {layer: {"A": tensor, "B": tensor}}. Raises CheckpointError."""
    folded: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, _, rest = key.partition(".lora_")
        if rest[:1] not in ("A", "B"):
            raise CheckpointError(f"{where}: {shown(key)} is no adapter; is this the published osediff.pkl?")
        folded.setdefault(layer, {})[rest[:1]] = tensor
    return folded


def match_targets(
    module: nn.Module, expected: Sequence[str], adapters: Mapping[str, Mapping[str, Tensor]], where: str
) -> LoraWeights:
    """Check layers and shapes both ways. Raises CheckpointError naming the first that does not fit."""
    for name in sorted(set(expected) ^ adapters.keys()):
        problem = (
            "has no LoRA in the checkpoint" if name in expected else "has LoRA, but the base model has no such layer"
        )
        raise CheckpointError(f"{where}: {name} {problem}; truncated, or trained on another base?")
    for name in expected:
        for letter in sorted({"A", "B"} ^ adapters[name].keys()):
            raise CheckpointError(f"{where}: {name}.lora_{letter} is missing or unknown")
    weights = LoraWeights({name: (adapters[name]["A"], adapters[name]["B"]) for name in expected})
    check_weights(module, weights, where)
    return weights
