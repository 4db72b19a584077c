"""Build a model from a bundle: its generator, and an upscaler ready to run on a chosen device."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import nn

from image_core.autoencoder import LiteAutoencoder, LiteConfig
from image_core.bundle import Bundle, verify_bundle
from image_core.errors import CheckpointError, ModelNotFoundError
from image_core.files import sha256
from image_core.generator import Generator, KLAutoencoder, set_precision
from image_core.lora import LoraWeights, check_weights, from_tensors, merge_lora
from image_core.options import Precision, UpscaleOptions
from image_core.prompts.prompter import load_prompter, negative_embedding
from image_core.tensors import fill, read_safetensors
from image_core.upscaler import Upscaler


def load_generator(
    bundle: Bundle,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    lora_scale: float = 1.0,
) -> Generator:
    """Verify the files, build the model and fill it. Ready for inference.

    lora_scale: times the effect of the adapters, 1 is as trained.
    Raises CheckpointError, also for another lora_scale when the bundle holds no adapters of their own.
    """
    verify_bundle(bundle)
    config = bundle.config
    if lora_scale != 1 and not any(name.startswith("lora.") for name in config.files):
        raise CheckpointError(
            f"the model {config.name} has no adapters beside its weights for --lora-scale {lora_scale:g}: "
            "they are merged, or it never had any; import it again without --merge, or leave --lora-scale at 1"
        )
    # on the meta device no time goes into random weights that are replaced at once
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(_settings(bundle, "unet"))
        if config.autoencoder == "lite":
            inner: nn.Module = LiteAutoencoder(LiteConfig(**_settings(bundle, "autoencoder")))
        else:
            inner = AutoencoderKL.from_config(_settings(bundle, "autoencoder"))
    for name, module in (("unet", unet), ("autoencoder", inner)):
        path = bundle.path / f"{name}.safetensors"
        fill(module, read_safetensors(path), str(path))
    for name, module in (("unet", unet), ("vae", inner)):
        if f"lora.{name}.safetensors" in config.files:
            # folded in: faster than beside the layers, and peft is not needed to run
            path = bundle.path / f"lora.{name}.safetensors"
            weights = _read_lora(path)
            check_weights(module, weights, str(path))
            merge_lora(module, weights, lora_scale)
    autoencoder = inner if isinstance(inner, LiteAutoencoder) else KLAutoencoder(inner, config.latent_scale)
    generator = Generator(autoencoder, unet, config.alpha_bar, config.timestep)
    generator.requires_grad_(False).eval()
    # channels last: twice as fast on a CPU (AVX-512, oneDNN) and the native order of tensor cores
    return set_precision(generator, dtype).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _settings(bundle: Bundle, name: str) -> dict[str, Any]:
    return json.loads((bundle.path / f"{name}.json").read_text(encoding="utf-8"))


def _read_lora(path: Path) -> LoraWeights:
    with safe_open(path, "pt") as file:
        scale = float((file.metadata() or {}).get("scale", "nan"))
    return from_tensors(read_safetensors(path), scale)


# Peak memory for each output pixel in float32, estimated with room to spare; half precision needs half
BYTES_PER_PIXEL = {"lite": 600, "kl": 7000}


DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str) -> torch.device:
    """ "auto" is the first GPU, else the CPU. Raises ModelNotFoundError for a device that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ModelNotFoundError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error


def choose_dtype(precision: Precision, device: torch.device, alpha_bar: float) -> torch.dtype:
    """ "auto" is fp16 on a GPU; on a CPU fp32, or bf16 where the CPU multiplies it and the step forgives it.

    The one step divides rounding errors by sqrt(alpha_bar): 14.65 times at t = 999, where bf16 shows. At 1.27 times the
    embedded model's images differ from fp32 by one level of 255 at most and take half the time.
    """
    if precision not in ("auto", *DTYPES):
        raise ValueError(f"precision must be one of auto, {', '.join(DTYPES)}, got {precision!r}")
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        return torch.float16
    forgiving = device.type == "cpu" and alpha_bar > 0.25
    return torch.bfloat16 if forgiving and torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def load_upscaler(
    bundle: Bundle,
    options: UpscaleOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    report: Callable[[str], None] = lambda _: None,
) -> Upscaler:
    """Read weights and prompt, ready to run. Raises CheckpointError for damaged files or a prompt it cannot read."""
    prompter = load_prompter(bundle, options, device, dtype, report)
    # with a fixed prompt its embedding; else one that stands for the shape of all
    text = prompter.embedding(None if prompter.tagger else prompter.fixed)
    negative = negative_embedding(prompter.prompts, options)
    generator = load_generator(bundle, device, dtype, options.lora_scale)
    return Upscaler(
        generator,
        text,
        options,
        bytes_per_pixel=BYTES_PER_PIXEL[bundle.config.autoencoder] * dtype.itemsize // 4,
        color_fix=bundle.config.color_fix,
        identity=f"{bundle.config.name} {sha256(bundle.path / 'bundle.json')[:16]} {str(dtype).removeprefix('torch.')}",
        generative=bundle.config.autoencoder == "kl",
        prompter=prompter if prompter.tagger else None,
        prompts=prompter.prompts,
        negative=negative,
        report=report,
    )
