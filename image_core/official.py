"""The published `osediff.pkl` and a Stable Diffusion 2.1-base folder become a bundle."""

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from image_core.bundle import Bundle, BundleConfig, sha256, write_bundle
from image_core.errors import CheckpointError, OutputError
from image_core.generator import KLAutoencoder
from image_core.lora import LoraWeights, check_weights, merge_lora, unet_targets, vae_targets
from image_core.text import TextEncoder

TIMESTEP = 999
TOP_KEYS = {
    "rank_unet", "rank_vae", "unet_lora_encoder_modules", "unet_lora_decoder_modules", "unet_lora_others_modules",
    "vae_lora_encoder_modules", "state_dict_unet", "state_dict_vae",
}  # fmt: skip
LICENCE = "OSEDiff weights: Apache-2.0; Stable Diffusion 2.1-base: CreativeML Open RAIL++-M"
SUMMARY = "The published OSEDiff: invents plausible detail; wants a GPU."


def import_official(
    base: Path, weights: Path, out: Path, *, merge: bool, prompts: Sequence[str] = (), half: bool = False
) -> Bundle:
    """Write the bundle `out`.

    base: folder in diffusers layout (unet, vae, text_encoder, tokenizer, scheduler). weights: the published pickle,
    read without running any code in it. merge: fold LoRA into the weights. prompts: stored beside the empty one.
    half: store float16. Raises CheckpointError for a base or pickle of the wrong kind, OutputError if `out` exists.
    """
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it or choose another --out")
    alpha_bar = base_alpha_bar(base)
    content = read_pickle(weights)
    unet, vae = load_part(UNet2DConditionModel, base / "unet"), load_part(AutoencoderKL, base / "vae")
    conv_in, unet_lora = split_unet(unet, content["state_dict_unet"], str(weights))
    vae_lora = match_targets(vae, vae_targets(vae), fold(content["state_dict_vae"]), str(weights))
    unet.conv_in.load_state_dict(conv_in)
    if merge:
        merge_lora(unet, unet_lora)
        merge_lora(vae, vae_lora)
    texts = tuple(dict.fromkeys(["", *prompts]))
    embeddings = TextEncoder(base).encode(texts)
    dtype = torch.float16 if half else torch.float32
    config = BundleConfig(
        name=out.name,
        autoencoder="kl",
        timestep=TIMESTEP,
        alpha_bar=alpha_bar,
        latent_scale=vae.config.scaling_factor,
        color_fix="adain",
        prompts=texts,
        licence=LICENCE,
        card={"summary": SUMMARY, "weights": weights.name, "weights_sha256": sha256(weights), "merged": merge},
    )
    return write_bundle(
        out,
        config,
        autoencoder=KLAutoencoder(vae, vae.config.scaling_factor).to(dtype),
        unet=unet.to(dtype),
        prompts=list(embeddings.to(dtype).split(1)),
        lora=None if merge else {"unet": unet_lora, "vae": vae_lora},
        text_encoder_folder=base,
    )


def base_alpha_bar(base: Path) -> float:
    """Signal power left at t = 999 by the base's own schedule: 0.004660095 in Stable Diffusion.

    Raises CheckpointError for a base that does not predict epsilon or whose schedule is not scaled linear.
    """
    config = read_json(base / "scheduler" / "scheduler_config.json")
    kind = config.get("prediction_type", "epsilon")
    if kind == "v_prediction":
        raise CheckpointError(
            f"{base}: this is a v-prediction base such as Stable Diffusion 2.1 (768 px); OSEDiff needs "
            "Stable Diffusion 2.1-base (512 px), which predicts epsilon"
        )
    if kind != "epsilon":
        raise CheckpointError(f"{base}: predicts {kind!r}; OSEDiff needs a base that predicts epsilon")
    if config.get("beta_schedule") != "scaled_linear":
        raise CheckpointError(f"{base}: beta schedule {config.get('beta_schedule')!r}, expected 'scaled_linear'")
    steps = config["num_train_timesteps"]
    betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, steps, dtype=torch.float32) ** 2
    return float(torch.cumprod(1 - betas, 0)[TIMESTEP])


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: missing; expected a Stable Diffusion 2.1-base folder in diffusers layout"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def load_part(kind: Any, folder: Path) -> Any:
    """One model of the base. Raises CheckpointError when it is missing, damaged or of another class."""
    found = read_json(folder / "config.json").get("_class_name")
    if found != kind.__name__:
        raise CheckpointError(f"{folder}: holds a {found}, expected a {kind.__name__} (SDXL and SD 3 bases do not fit)")
    try:
        return kind.from_pretrained(folder, local_files_only=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: cannot be read: {str(error).splitlines()[0]}") from error


def read_pickle(path: Path) -> dict[str, Any]:
    """The content of the published checkpoint. Raises CheckpointError for anything else, code in the file included."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, or is damaged; it is not the published osediff.pkl"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: truncated or not a checkpoint: {str(error).splitlines()[0]}") from error
    keys = content.keys() if isinstance(content, dict) else set()
    for key in sorted(TOP_KEYS - keys):
        raise CheckpointError(f"{path}: key {key!r} is missing; is this the published osediff.pkl?")
    return content


def split_unet(unet: nn.Module, tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Tensor], LoraWeights]:
    """The retrained conv_in, and the three adapters folded into one: they share no layer."""
    conv_in = {}
    for name, parameter in unet.get_submodule("conv_in").named_parameters():
        key = f"conv_in.base_layer.{name}"
        if key not in tensors:
            raise CheckpointError(f"{where}: tensor {key} is missing")
        if tensors[key].shape != parameter.shape:
            shapes = f"{tuple(tensors[key].shape)}, expected {tuple(parameter.shape)}"
            raise CheckpointError(f"{where}: {key} has shape {shapes}; was it trained on another base?")
        conv_in[name] = tensors[key]
    rest = {key: tensor for key, tensor in tensors.items() if not key.startswith("conv_in.base_layer.")}
    wanted = [name for names in unet_targets(unet).values() for name in names]
    return conv_in, match_targets(unet, wanted, fold(rest), where)


def fold(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """From `layer.lora_A.default_encoder.weight` to {layer: {"A": tensor, "B": tensor}}."""
    folded: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, _, rest = key.partition(".lora_")
        folded.setdefault(layer, {})[rest[:1]] = tensor
    return folded


def match_targets(
    module: nn.Module, wanted: Sequence[str], found: Mapping[str, Mapping[str, Tensor]], where: str
) -> LoraWeights:
    """Check layers and shapes both ways. Raises CheckpointError naming the first that does not fit."""
    for name in sorted(set(wanted) ^ found.keys()):
        problem = (
            "has no LoRA in the checkpoint" if name in wanted else "has LoRA, but the base model has no such layer"
        )
        raise CheckpointError(f"{where}: {name} {problem}; truncated, or trained on another base?")
    for name in wanted:
        for letter in sorted({"A", "B"} ^ found[name].keys()):
            raise CheckpointError(f"{where}: {name}.lora_{letter} is missing or unknown")
    weights = LoraWeights({name: (found[name]["A"], found[name]["B"]) for name in wanted})
    check_weights(module, weights, where)
    return weights
