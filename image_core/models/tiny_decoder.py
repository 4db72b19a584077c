"""Load a tiny decoder to use in place of Stable Diffusion's: AutoencoderTiny in diffusers layout, from a local folder.

Such as TAESD, which decodes the latents of Stable Diffusion 1 and 2. One of another kind of latents with as many
channels (Stable Diffusion XL's) cannot be told from it, and gives wrong colours.
"""

from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import nn

from image_core.architecture import ACTIVATIONS, MAX_LAYERS, MAX_WIDTH, built, defaults_of, first_line, known_settings
from image_core.bundle import TINY_FILES
from image_core.errors import CheckpointError
from image_core.generator import Generator, KLAutoencoder
from image_core.storage.files import sha256
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import FLAG, Rule, list_of, number, one_of, shown, whole
from image_core.storage.tensors import TensorFile, fill

EXPECTED = "the folder of an AutoencoderTiny: config.json and diffusion_pytorch_model.safetensors"
WIDTHS, BLOCKS = list_of(whole(1, MAX_WIDTH), 4, 4), list_of(whole(1, MAX_LAYERS), 4, 4)  # three doublings
SETTINGS: Mapping[str, Rule] = {
    "in_channels": one_of(3),
    "out_channels": one_of(3),
    "encoder_block_out_channels": WIDTHS,
    "decoder_block_out_channels": WIDTHS,
    "num_encoder_blocks": BLOCKS,
    "num_decoder_blocks": BLOCKS,
    "act_fn": ACTIVATIONS,
    "upsample_fn": one_of("nearest"),
    "upsampling_scaling_factor": one_of(2),
    "latent_channels": whole(1, 256),
    "latent_magnitude": number(1e-3, 1e3),
    "latent_shift": number(-1e3, 1e3),
    "force_upcast": FLAG,
    "scaling_factor": Rule("1, for latents as the UNet leaves them", lambda value: value == 1),
    "shift_factor": Rule("0", lambda value: value == 0),
}


def use_tiny_decoder(generator: Generator, folder: Path) -> None:
    """Let the tiny decoder in a folder stand in for that of a model, whose own is freed.

    Raises CheckpointError for a folder that does not hold one, or one of other latents.
    """
    own = generator.autoencoder
    assert isinstance(own, KLAutoencoder)
    kind = next(own.parameters())
    own.tiny_decoder = read_tiny(folder, own.vae.config.latent_channels, kind.dtype, kind.device)
    own.vae.decoder = own.vae.post_quant_conv = None


def read_tiny(folder: Path, channels: int, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """Read the tiny decoder in a folder, ready to run. Raises as `use_tiny_decoder`."""
    settings, weights = _settings(folder / "config.json"), TensorFile(weights_file(folder))
    if (given := settings.get("latent_channels", 4)) != channels:
        raise CheckpointError(
            f"{folder}: decodes latents of {given} channels, the model's have {channels}; expected a tiny decoder of "
            "the same kind of Stable Diffusion, such as TAESD"
        )

    from diffusers import AutoencoderTiny

    tiny = built(AutoencoderTiny, settings, str(folder / "config.json"))
    try:
        with torch.no_grad():
            tiny.decoder(torch.empty(1, channels, 8, 8, device="meta"))
    except Exception as error:  # whatever a layer makes of a shape that is not its own
        raise CheckpointError(f"{folder}: its settings do not fit together: {first_line(error)}") from error
    fill(tiny, weights, str(weights.path), dtype, None, device, channels_last=True)
    return tiny.decoder.requires_grad_(False).eval()


def copy_tiny(folder: Path, channels: int, bundle: Path) -> str:
    """Copy the tiny decoder in a folder into that of a bundle, and return its name there. Raises CheckpointError."""
    read_tiny(folder, channels, torch.float32, torch.device("cpu"))
    (bundle / "tiny_decoder").mkdir()
    for name in TINY_FILES:
        copyfile(folder / name, bundle / "tiny_decoder" / name)
    return "tiny_decoder"


def weights_file(folder: Path) -> Path:
    """Return the file of the weights. Raises CheckpointError where there is none that is safe to read."""
    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.is_file():
        pickle = "it holds only a pickle; convert it to safetensors" if list(folder.glob("*.bin")) else "missing"
        raise CheckpointError(f"{path}: {pickle}; expected {EXPECTED}")
    return path


def identify_tiny(folder: Path) -> str:
    """Return a text that tells one tiny decoder from another by its weights. Raises CheckpointError."""
    return f"tiny decoder {sha256(weights_file(folder))[:16]}"


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; expected {EXPECTED}")
    values = read_object(path, "settings")
    if (kind := values.get("_class_name")) != "AutoencoderTiny":
        raise CheckpointError(f"{path}: describes a {shown(kind)}; expected {EXPECTED}")
    values.pop("block_out_channels", None)  # written by diffusers, a copy of the decoder's

    from diffusers import AutoencoderTiny

    return known_settings(values, SETTINGS, defaults_of(AutoencoderTiny), str(path))
