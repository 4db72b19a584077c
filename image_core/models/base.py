"""The diffusion model that OSEDiff stands on: any Stable Diffusion 1.x or 2.x that predicts epsilon, as a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

from image_core.errors import CheckpointError
from image_core.json_file import read_object

XL = (
    "it needs two text encoders and is told the image's size beside the text, "
    "and its latents are of another autoencoder"
)
SD3 = "it has a transformer instead of a UNet and predicts a velocity (rectified flow), not epsilon"
EXPECTED = "a Stable Diffusion 1.x or 2.x folder in diffusers layout, such as Stable Diffusion 2.1-base"
WEIGHTS = "diffusion_pytorch_model"


@dataclass(frozen=True)
class BaseFacts:
    """What the settings of a base say. text_width: D of its embeddings. timestep: the last of its schedule.

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
        raise CheckpointError(f"{folder / 'unet'}: holds a {unet.get('_class_name')}, expected a UNet2DConditionModel")
    if unet.get("addition_embed_type") is not None:
        raise CheckpointError(f"{folder}: this is Stable Diffusion XL: {XL}. Expected {EXPECTED}")
    vae = read_settings(folder / "vae" / "config.json")
    if vae.get("_class_name") != "AutoencoderKL":
        raise CheckpointError(f"{folder / 'vae'}: holds a {vae.get('_class_name')}, expected an AutoencoderKL")
    channels, into, out = vae.get("latent_channels", 4), unet.get("in_channels", 4), unet.get("out_channels", 4)
    if not channels == into == out:
        raise CheckpointError(
            f"{folder}: the UNet takes {into} channels and gives {out}, the latents have {channels}; a model for "
            "inpainting, depth or editing cannot be the base"
        )
    width = unet.get("cross_attention_dim", 1280)
    text = read_settings(folder / "text_encoder" / "config.json").get("hidden_size")
    if text != width:
        raise CheckpointError(f"{folder}: the UNet reads text of width {width}, its text encoder writes {text}")
    timestep, alpha_bar = schedule(folder)
    return BaseFacts(timestep, alpha_bar, width, channels, vae.get("scaling_factor", 0.18215))


def refuse_other_kinds(folder: Path) -> None:
    """Raises CheckpointError for Stable Diffusion XL and 3, from the parts that lie in the folder."""
    index = folder / "model_index.json"
    kind = str(read_settings(index).get("_class_name", "")) if index.is_file() else ""
    if ((folder / "text_encoder_2").is_dir() and (folder / "unet").is_dir()) or "XL" in kind:
        raise CheckpointError(f"{folder}: this is Stable Diffusion XL: {XL}. Expected {EXPECTED}")
    if (folder / "transformer").is_dir() or "Diffusion3" in kind or "Flux" in kind:
        raise CheckpointError(f"{folder}: this is Stable Diffusion 3 or one of its kin: {SD3}. Expected {EXPECTED}")


def schedule(folder: Path) -> tuple[int, float]:
    """The last timestep of the base's own schedule, and the signal power left there: 999, 0.004660095 in 1.x and 2.x.

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
        raise CheckpointError(f"{folder}: predicts {kind!r}; OSEDiff needs a base that predicts epsilon")
    names = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "rescale_betas_zero_snr",
    )
    try:
        found = DDPMScheduler(**{name: settings[name] for name in names if settings.get(name) is not None})
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: beta schedule {settings.get('beta_schedule')!r} is not known: {error}"
        ) from error
    alpha_bar = float(found.alphas_cumprod[-1])
    if not alpha_bar > 1e-6:
        raise CheckpointError(
            f"{path}: no signal is left at the last step (zero terminal SNR); the one step needs some"
        )
    return len(found.alphas_cumprod) - 1, alpha_bar


def read_settings(path: Path) -> dict[str, Any]:
    """Raises CheckpointError for a file that is missing or no JSON object."""
    return read_object(path, "settings", f"missing; expected {EXPECTED}")


def load_unet(folder: Path) -> UNet2DConditionModel:
    """The UNet of a base, float32. Raises CheckpointError."""
    return _load(UNet2DConditionModel, folder / "unet")


def load_vae(folder: Path) -> AutoencoderKL:
    """The autoencoder of a base, float32; old names of its attention are read too. Raises CheckpointError."""
    return _load(AutoencoderKL, folder / "vae")


def _load(kind: Any, folder: Path) -> Any:
    found = read_settings(folder / "config.json").get("_class_name")
    if found != kind.__name__:
        raise CheckpointError(f"{folder}: holds a {found}, expected a {kind.__name__}")
    whole = any(
        (folder / f"{WEIGHTS}.{suffix}").is_file() for suffix in ("safetensors", "bin", "safetensors.index.json")
    )
    variant = None if whole or not (folder / f"{WEIGHTS}.fp16.safetensors").is_file() else "fp16"
    try:
        model, report = kind.from_pretrained(
            folder,
            variant=variant,
            torch_dtype=torch.float32,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: cannot be read: {str(error).splitlines()[0]}") from error
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        for key in sorted(map(str, report[problem])):
            raise CheckpointError(f"{folder}: {problem.replace('_keys', '')} tensor {key}")
    return model
