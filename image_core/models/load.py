"""Build a model from a bundle: its generator, and an upscaler ready to run on a chosen device."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from image_core.architecture import build_lite, build_small_unet, build_unet, build_vae, first_line
from image_core.autoencoder import LiteAutoencoder
from image_core.bundle import Bundle, verify_bundle
from image_core.device.choice import AUTOENCODER_NAMES, DTYPE_NAMES, choose_device_name, choose_precision
from image_core.device.free_memory import free_bytes
from image_core.device.memory import attempt, give_back_cache
from image_core.device.tuned import read_tuned
from image_core.errors import CheckpointError, ModelNotFoundError, OutOfMemoryError
from image_core.generator import Generator, KLAutoencoder, set_precision
from image_core.lora import LoraWeights, check_weights, from_tensors, merged
from image_core.models.int8_ranges import read_ranges
from image_core.models.tiny_decoder import identify_tiny, use_tiny_decoder
from image_core.options import Engine, Precision, UpscaleOptions
from image_core.prompts.prompter import load_prompter, negative_embedding
from image_core.small_unet import SmallUNet, is_small
from image_core.storage.files import sha256
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import shown
from image_core.storage.tensors import Change, TensorFile, check_finite, fill
from image_core.upscaler import Upscaler

MAX_STORED_SCALE = 100.0
"""Of adapters in a file; as trained it is 2."""


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
    return build_generator(bundle, device, dtype, lora_scale)


def build_generator(
    bundle: Bundle,
    device: torch.device | str,
    dtype: torch.dtype,
    lora_scale: float = 1.0,
    autoencoder_dtype: torch.dtype | None = None,
) -> Generator:
    """Build and fill the model of a bundle whose files were verified; as `load_generator`.

    autoencoder_dtype: that of the autoencoder, where it is another.

    Tensor after tensor goes from the file to its own precision, adapters folded in on the way, so that memory never
    holds more than the model and one tensor.
    """
    config = bundle.config
    if lora_scale != 1 and not any(name.startswith("lora.") for name in config.files):
        raise CheckpointError(
            f"the model {config.name} has no adapters beside its weights for --lora-scale {lora_scale:g}: "
            "they are merged, or it never had any; import it again without --merge, or leave --lora-scale at 1"
        )
    weights = {name: TensorFile(bundle.file(f"{name}.safetensors")) for name in ("unet", "autoencoder")}
    settings, where = _described(bundle, "unet")
    unet = (build_small_unet if is_small(settings) else build_unet)(settings, where, len(weights["unet"]))
    build_inner = build_lite if config.autoencoder == "lite" else build_vae
    inner = build_inner(*_described(bundle, "autoencoder"), len(weights["autoencoder"]))
    autoencoder = inner if isinstance(inner, LiteAutoencoder) else KLAutoencoder(inner, config.latent_scale)
    generator = Generator(autoencoder, unet, config.alpha_bar, config.timestep)
    _check_fit(generator, bundle)
    other = autoencoder_dtype or dtype
    for name, adapters, module, kind in (("unet", "unet", unet, dtype), ("autoencoder", "vae", inner, other)):
        change = _folded(bundle, f"lora.{adapters}.safetensors", module, lora_scale)
        fill(module, weights[name], str(weights[name].path), kind, change, device, channels_last=True)
    generator.requires_grad_(False).eval()
    # channels last: twice as fast on a CPU (AVX-512, oneDNN) and the native order of tensor cores
    return set_precision(generator, dtype, other).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _described(bundle: Bundle, name: str) -> tuple[dict[str, Any], str]:
    path = bundle.file(f"{name}.json")
    return read_object(path, "settings"), str(path)


def _check_fit(generator: Generator, bundle: Bundle) -> None:
    """Raise CheckpointError when the parts of a model do not fit together."""
    inner, unet = generator.autoencoder, generator.unet
    if not (isinstance(inner, LiteAutoencoder) and isinstance(unet, SmallUNet)):
        return _try_without_memory(generator, bundle)
    # small parts fit by construction but for this; a run on meta tensors would import torch's compiler first
    channels, into, out = inner.config.latent_channels, unet.config.in_channels, unet.config.out_channels
    if not channels == into == out:
        raise CheckpointError(
            f"{bundle.path}: its networks do not fit together: latents have {channels} channels, the UNet takes {into} "
            f"and gives {out}"
        )
    return None


def _try_without_memory(generator: Generator, bundle: Bundle) -> None:
    """Run the model where only shapes are computed. Raises CheckpointError when its parts do not fit together."""
    width = generator.unet.config.cross_attention_dim
    image = torch.empty(1, 3, 64, 64, device="meta")
    try:
        with torch.no_grad():
            result = generator(image, torch.empty(1, 77, width, device="meta"))
    except Exception as error:  # whatever a layer makes of a shape that is not its own
        raise CheckpointError(f"{bundle.path}: its networks do not fit together: {first_line(error)}") from error
    if result.shape != image.shape:
        raise CheckpointError(f"{bundle.path}: makes {tuple(result.shape)} of {tuple(image.shape)}, expected the same")


def _folded(bundle: Bundle, name: str, module: nn.Module, strength: float) -> Change | None:
    """Return what folds adapters into weights: faster than beside the layers, and peft is not needed to run."""
    if not bundle.holds(name):
        return None
    weights = read_lora(bundle.file(name))
    check_weights(module, weights, str(bundle.path / name))
    return lambda key, tensor: merged(key, tensor, weights, strength)


def read_lora(path: Path) -> LoraWeights:
    """Read adapters that a bundle keeps beside its weights. Raises CheckpointError."""
    file = TensorFile(path)
    try:
        scale = float(file.metadata.get("scale", "nan"))
    except ValueError:
        scale = math.nan
    if not abs(scale) <= MAX_STORED_SCALE:
        stored = shown(file.metadata.get("scale"))
        raise CheckpointError(f"{path}: its scale is {stored}, expected a number up to {MAX_STORED_SCALE}")
    tensors = {key: tensor.float() for key, tensor in file.items()}
    for key, tensor in tensors.items():
        check_finite(tensor, tensor, f"{path}: {key}")
    return from_tensors(tensors, scale, str(path))


# Peak memory for each output pixel in float32, estimated with room to spare; half precision needs half
BYTES_PER_PIXEL = {"lite": 600, "kl": 7000, "tiny": 5300}
"""By the autoencoder; tiny: with a tiny decoder, beside which the VAE's encoder takes most."""


DTYPES = {name: getattr(torch, dtype) for name, dtype in DTYPE_NAMES.items()}
AUTOENCODER_DTYPES = {name: getattr(torch, dtype) for name, dtype in AUTOENCODER_NAMES.items()}


def choose_device(name: str) -> torch.device:
    """Choose a device as `choose_device_name` does."""
    return torch.device(choose_device_name(name))


def choose_dtype(precision: Precision, device: torch.device, alpha_bar: float) -> torch.dtype:
    """Choose the type of numbers as `choose_precision` does."""
    return DTYPES[choose_precision(precision, device.type, alpha_bar)]


def load_upscaler(
    bundle: Bundle,
    options: UpscaleOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    autoencoder_dtype: torch.dtype | None = None,
    report: Callable[[str], None] = lambda _: None,
    engine: Engine = "torch",
) -> Upscaler:
    """Read weights and prompt, ready to run. engine: any but auto, which must be usable.

    autoencoder_dtype: that of the autoencoder, where it is another.

    Raises CheckpointError for damaged files or a prompt it cannot read, OutOfMemoryError for too small a device.
    """
    if options.fast and bundle.config.autoencoder != "lite":
        raise CheckpointError(
            f"{bundle.path}: the model {bundle.config.name} restores in its UNet alone, without which --fast "
            "runs; leave it out, or use --model lite"
        )
    if options.tiny_decoder is not None and bundle.config.autoencoder != "kl":
        raise CheckpointError(
            f"{bundle.path}: the model {bundle.config.name} has a small decoder of its own; leave out --tiny-decoder"
        )
    if options.compile and engine != "torch":
        raise ModelNotFoundError(
            f"engine {engine!r} is not compiled by torch; leave out --compile, or use --engine torch"
        )
    if device.type == "cuda":
        # or float32 would round to ten bits, what is left of it beside fp16 too; some containers have both on
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    other = autoencoder_dtype or dtype
    upscaler, _ = attempt(lambda: _read_upscaler(bundle, options, device, dtype, other, report, engine))
    if upscaler is None:
        give_back_cache(device)
        raise OutOfMemoryError(
            f"the model {bundle.config.name} does not fit in the memory of {device} ({free_bytes(device) / 1e9:.1f} GB "
            "free); close other programs, or use --precision fp16, --device cpu or --model lite"
        )
    return upscaler


def _read_upscaler(
    bundle: Bundle,
    options: UpscaleOptions,
    device: torch.device,
    dtype: torch.dtype,
    autoencoder_dtype: torch.dtype,
    report: Callable[[str], None],
    engine: Engine,
) -> Upscaler:
    verify_bundle(bundle)
    stored = dtype if engine == "torch" else torch.float32  # OpenVINO's graphs take float32 and round by themselves
    prompter = load_prompter(bundle, options, device, stored, report)
    # with a fixed prompt its embedding; else one that stands for the shape of all
    text = prompter.embedding(None if prompter.tagger else prompter.fixed)
    negative = negative_embedding(prompter.prompts, options)
    if prompter.tagger is None:
        prompter.prompts.release()
    other = stored if autoencoder_dtype == dtype else autoencoder_dtype
    generator = build_generator(bundle, device, stored, options.lora_scale, other)
    for embedding in (text, negative):
        if embedding is not None and embedding.shape[-1] != (width := generator.unet.config.cross_attention_dim):
            raise CheckpointError(f"{bundle.path}: its prompts are {embedding.shape[-1]} wide, its UNet reads {width}")
    identity = f"{bundle.config.name} {sha256(bundle.path / 'bundle.json')[:16]} {str(dtype).removeprefix('torch.')}"
    if autoencoder_dtype != dtype:
        identity += f" {str(autoencoder_dtype).removeprefix('torch.')}"
    kind = bundle.config.autoencoder
    if folder := bundle.chosen_tiny_decoder(options.tiny_decoder):
        use_tiny_decoder(generator, folder)
        identity += f" {identify_tiny(folder)}"
        report(f"decoder: the AutoencoderTiny in {folder}")
        kind = "tiny"
    if engine != "torch":
        from image_core.device.openvino_engine import VERSION, is_runnable, with_openvino

        if not is_runnable(generator):
            raise ModelNotFoundError(
                f"engine {engine!r} cannot be used here: {bundle.path} is of another shape than its graphs; use torch"
            )
        quantize = None
        if engine == "openvino-int8":
            from image_core.device.openvino_graph import quantizer

            quantize = quantizer(read_ranges(bundle.path, generator))
        generator = with_openvino(generator, dtype, quantize)
        identity += f" {engine} {VERSION}"
    elif not isinstance(generator.unet, SmallUNet):
        from image_core.models.fold import fold

        fold(generator)
    if options.compile:
        from image_core.device.compiled import compile_networks

        compile_networks(generator, report)
    upscaler = Upscaler(
        generator,
        text,
        options,
        bytes_per_pixel=BYTES_PER_PIXEL[kind] * dtype.itemsize // 4,
        color_fix=bundle.config.color_fix,
        identity=identity,
        generative=bundle.config.autoencoder == "kl",
        prompter=prompter if prompter.tagger else None,
        prompts=prompter.prompts,
        negative=negative,
        report=report,
    )
    if (tuned := read_tuned(options.fast)) is not None and bundle.config.autoencoder == "lite":
        upscaler.planner.most_workers = tuned.workers
    return upscaler
