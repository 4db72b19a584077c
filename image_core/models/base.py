"""Open the diffusion model that OSEDiff stands on.

Any Stable Diffusion 1.x or 2.x that predicts epsilon, as a folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from image_core.architecture import UNET, VAE, build_unet, build_vae, first_line
from image_core.bundle import is_inside
from image_core.errors import CheckpointError
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import FLAG, check, list_of, number, one_of, shown, whole
from image_core.storage.tensors import TensorFile, fill

XL = "it needs two text encoders and the image's size as a condition, and its latents are of another autoencoder"
SD3 = "it has a transformer instead of a UNet and predicts a velocity (rectified flow), not epsilon"
EXPECTED = "a Stable Diffusion 1.x or 2.x folder in diffusers layout, such as Stable Diffusion 2.1-base"
WEIGHTS = "diffusion_pytorch_model"
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
SCHEDULE = {
    "num_train_timesteps": whole(1, 100_000),
    "beta_start": number(0, 1),
    "beta_end": number(0, 1),
    "beta_schedule": one_of("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"),
    "trained_betas": list_of(number(0, 1), 1, 100_000),
    "rescale_betas_zero_snr": FLAG,
}
"""What decides how much signal is left at the last step."""


@dataclass(frozen=True)
class BaseFacts:
    """Hold the facts in the settings of a base. text_width: D of its embeddings. timestep: the last of its schedule.

    alpha_bar: share of signal power left there. latent_scale: brings latents to about unit variance.
    """

    timestep: int
    alpha_bar: float
    text_width: int
    latent_channels: int
    latent_scale: float


def check_base(folder: Path) -> BaseFacts:
    """Read the settings only, and refuse what the method does not fit, with the reason. Raises CheckpointError."""
    refuse_other_kinds(folder)
    unet = read_settings(folder / "unet" / "config.json")
    if unet.get("_class_name") != "UNet2DConditionModel":
        kind = shown(unet.get("_class_name"))
        raise CheckpointError(f"{folder / 'unet'}: holds a {kind}, expected a UNet2DConditionModel")
    if unet.get("addition_embed_type") is not None:
        raise CheckpointError(f"{folder}: this is Stable Diffusion XL: {XL}. Expected {EXPECTED}")
    vae = read_settings(folder / "vae" / "config.json")
    if vae.get("_class_name") != "AutoencoderKL":
        kind = shown(vae.get("_class_name"))
        raise CheckpointError(f"{folder / 'vae'}: holds a {kind}, expected an AutoencoderKL")
    channels = _checked(vae, "latent_channels", 4, VAE, folder / "vae")
    into, out = (_checked(unet, name, 4, UNET, folder / "unet") for name in ("in_channels", "out_channels"))
    if not channels == into == out:
        raise CheckpointError(
            f"{folder}: the UNet takes {into} channels and gives {out}, the latents have {channels}; a model for "
            "inpainting, depth or editing cannot be the base"
        )
    width = _checked(unet, "cross_attention_dim", 1280, UNET, folder / "unet")
    text = read_settings(folder / "text_encoder" / "config.json").get("hidden_size")
    if text != width:
        raise CheckpointError(f"{folder}: the UNet reads text of width {width}, its text encoder writes {shown(text)}")
    timestep, alpha_bar = schedule(folder)
    scale = _checked(vae, "scaling_factor", 0.18215, VAE, folder / "vae")
    return BaseFacts(timestep, alpha_bar, width, channels, float(scale))


def _checked(settings: Mapping[str, Any], name: str, default: Any, rules: Mapping[str, Any], folder: Path) -> Any:
    value = settings.get(name, default)
    check({name: value}, rules, str(folder / "config.json"))
    return value


def refuse_other_kinds(folder: Path) -> None:
    """Refuse a base of another kind.

    Raises CheckpointError for Stable Diffusion XL and 3, from the parts that lie in the folder.
    """
    index = folder / "model_index.json"
    kind = str(read_settings(index).get("_class_name", "")) if index.is_file() else ""
    if ((folder / "text_encoder_2").is_dir() and (folder / "unet").is_dir()) or "XL" in kind:
        raise CheckpointError(f"{folder}: this is Stable Diffusion XL: {XL}. Expected {EXPECTED}")
    if (folder / "transformer").is_dir() or "Diffusion3" in kind or "Flux" in kind:
        raise CheckpointError(f"{folder}: this is Stable Diffusion 3 or one of its kin: {SD3}. Expected {EXPECTED}")


def schedule(folder: Path) -> tuple[int, float]:
    """Return the last timestep of the base's own schedule and the signal power left there (999 and 0.00466).

    Raises CheckpointError for a base that does not predict epsilon, or keeps no signal at the end.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    settings = read_settings(path)
    kind = settings.get("prediction_type", "epsilon")
    if kind == "v_prediction":
        raise CheckpointError(
            f"{folder}: this is a v-prediction base such as Stable Diffusion 2.1 (768 px); OSEDiff needs "
            "a base that predicts epsilon, such as Stable Diffusion 2.1-base (512 px)"
        )
    if kind != "epsilon":
        raise CheckpointError(f"{folder}: predicts {shown(kind)}; OSEDiff needs a base that predicts epsilon")
    used = {name: value for name, value in settings.items() if name in SCHEDULE and value is not None}
    check(used, SCHEDULE, str(path))
    try:
        scheduler = DDPMScheduler(**used)
    except Exception as error:  # whatever the library makes of numbers that do not fit together
        raise CheckpointError(f"{path}: not a usable noise schedule: {first_line(error)}") from error
    alpha_bar = float(scheduler.alphas_cumprod[-1])
    if not alpha_bar > 1e-6:
        raise CheckpointError(
            f"{path}: no signal is left at the last step (zero terminal SNR); the one step needs some"
        )
    return len(scheduler.alphas_cumprod) - 1, alpha_bar


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings of a part of a base. Raises CheckpointError for a file that is missing or no JSON object."""
    return read_object(path, "settings", f"missing; expected {EXPECTED}")


def load_unet(folder: Path, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
    """Read the UNet of a base. Raises CheckpointError."""
    unet, weights = open_unet(folder)
    fill(unet, weights, str(folder / "unet"), dtype)
    return unet


def open_unet(folder: Path) -> tuple[UNet2DConditionModel, Mapping[str, Tensor]]:
    """Build the UNet of a base without memory, and open what fills it. Raises CheckpointError."""
    settings, weights, where = _described(folder / "unet", "UNet2DConditionModel")
    return build_unet(settings, where, len(weights)).eval(), weights


def load_vae(folder: Path, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
    """Read the autoencoder of a base; old names of its attention are read too. Raises CheckpointError."""
    settings, weights, where = _described(folder / "vae", "AutoencoderKL")
    vae = build_vae(settings, where, len(weights))
    fill(vae, modern_attention(weights), str(folder / "vae"), dtype)
    return vae.eval()


def _described(folder: Path, kind: str) -> tuple[dict[str, Any], Mapping[str, Tensor], str]:
    settings = read_settings(folder / "config.json")
    if settings.get("_class_name") != kind:
        raise CheckpointError(f"{folder}: holds a {shown(settings.get('_class_name'))}, expected a {kind}")
    return settings, read_weights(folder), str(folder / "config.json")


def read_weights(folder: Path) -> Mapping[str, Tensor]:
    """Open the weights of a part in diffusers layout: one file, in half precision if there is no other, or several.

    Raises CheckpointError, also for a part that is there as a pickle only.
    """
    for suffix in ("safetensors", "fp16.safetensors"):
        if (path := folder / f"{WEIGHTS}.{suffix}").is_file():
            return TensorFile(path)
    index = folder / f"{WEIGHTS}.safetensors.index.json"
    if not index.is_file():
        pickle = " (only a pickle, .bin; convert it to safetensors)" if list(folder.glob("*.bin")) else ""
        raise CheckpointError(f"{folder / WEIGHTS}.safetensors: missing{pickle}; expected {EXPECTED}")
    places = read_object(index, "an index").get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) and is_inside(name) for name in places.values()):
        raise CheckpointError(f"{index}: weight_map must say in which file each tensor is")
    files = [TensorFile(folder / name) for name in sorted(set(places.values()))]
    return {key: tensor for file in files for key, tensor in file.items()}


def modern_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename attention to today's names, and make matrices where the file has convolutions of one pixel."""
    result = {}
    for key, tensor in tensors.items():
        before, dot, after = key.partition(".attentions.0.")
        name, _, kind = after.rpartition(".")
        renamed = f"{before}{dot}{OLD_ATTENTION.get(name, name)}.{kind}" if dot else key
        result[renamed] = tensor[..., 0, 0] if dot and tensor.ndim == 4 else tensor
    return result
