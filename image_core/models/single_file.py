"""Read weights in other layouts: Stable Diffusion 2.1-base as a single file, and autoencoders of any age.

The names inside those files are those of the latent-diffusion and OpenCLIP code; diffusers converts the first, we the
second. What comes out is checked against the model, names and shapes both ways.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from torch import Tensor, nn

from image_core.architecture import build_vae, first_line
from image_core.errors import CheckpointError
from image_core.models.base import load_vae, modern_attention
from image_core.storage.tensors import fill, read_checkpoint

if TYPE_CHECKING:
    from transformers import CLIPTextModel

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.model."
Settings = Mapping[str, Mapping[str, Any]]

SD21_SETTINGS: Settings = {
    "unet": {
        "attention_head_dim": [5, 10, 20, 20],
        "block_out_channels": [320, 640, 1280, 1280],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
        "sample_size": 64,
    },
    "vae": {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "sample_size": 768,
    },
    "text_encoder": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "hidden_act": "gelu",
        "projection_dim": 512,
    },
    "scheduler": {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
    },
}
"""What a single file does not say. Defaults of the libraries are left out."""

VELOCITY = (
    "a v-prediction model such as Stable Diffusion 2.1 (768 px); OSEDiff needs 2.1-base, "
    "v2-1_512-ema-pruned.safetensors, which predicts epsilon"
)
OPEN_CLIP = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def unfold_single_file(path: Path, tokenizer: Path | None, out: Path, settings: Settings = SD21_SETTINGS) -> Path:
    """Write the single file `path` as the folder `out` in diffusers layout, and return it.

    tokenizer: folder with vocab.json and merges.txt, which a single file lacks. Raises CheckpointError for another
    model than Stable Diffusion 2.1-base.
    """
    from transformers import CLIPTextConfig, CLIPTextModel

    if tokenizer is None or not (tokenizer / "vocab.json").is_file():
        raise CheckpointError(
            f"{path}: a single file holds no tokenizer; give the tokenizer/ folder of a Stable Diffusion 2.x model "
            f"in diffusers layout (vocab.json, merges.txt, 2 MB){f', not {tokenizer}' if tokenizer else ''}"
        )
    tensors = read_checkpoint(path)
    refuse_other_files(path, tensors, settings)
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**settings["unet"]), AutoencoderKL(**settings["vae"])
        text = CLIPTextModel(CLIPTextConfig(**settings["text_encoder"]))
    parts: dict[str, tuple[nn.Module, Callable[[], dict[str, Tensor]]]] = {
        "unet": (unet, lambda: convert_ldm_unet_checkpoint(with_prefix(tensors, UNET, keep=True), dict(unet.config))),
        "vae": (vae, lambda: convert_ldm_vae_checkpoint(with_prefix(tensors, VAE, keep=True), dict(vae.config))),
        "text_encoder": (text, lambda: convert_open_clip(with_prefix(tensors, TEXT), text)),
    }
    for name, (module, convert) in parts.items():
        try:
            converted = convert()
        except Exception as error:  # the library expects every tensor that it names
            raise CheckpointError(f"{path}: {name} lacks tensors or has others: {first_line(error)}") from error
        fill(module, {key: tensor.contiguous() for key, tensor in converted.items()}, f"{path}: {name}")
        if module is unet:
            refuse_velocity(unet.eval(), path)
        module.save_pretrained(out / name)  # type: ignore[operator]
    (out / "tokenizer").mkdir()
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer / file).is_file():
            shutil.copyfile(tokenizer / file, out / "tokenizer" / file)
    (out / "scheduler").mkdir()
    (out / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings["scheduler"]), encoding="utf-8")
    return out


@torch.inference_mode()
def refuse_velocity(unet: UNet2DConditionModel, path: Path) -> None:
    """Refuse a model that predicts velocity.

    Raises CheckpointError when the UNet does not predict epsilon, which a single file does not say.

    At the last step the input is all but noise, so that whoever predicts epsilon gives it back: it correlates with the
    answer. A velocity is there the negative of an image.
    """
    noise = torch.randn(1, unet.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    predicted = unet(noise, 999, torch.zeros(1, 77, unet.config.cross_attention_dim)).sample
    if torch.corrcoef(torch.stack([noise.flatten(), predicted.flatten()]))[0, 1] < 0.5:
        raise CheckpointError(f"{path}: does not predict epsilon: {VELOCITY}")


def refuse_other_files(path: Path, tensors: Mapping[str, Tensor], settings: Settings) -> None:
    """Refuse a file that is no base.

    Raises CheckpointError for another model, as far as names, shapes and metadata tell.
    """
    prediction = ""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            prediction = (file.metadata() or {}).get("modelspec.prediction_type", "")
    if prediction.startswith("v") or re.search(r"768|v[-_.]?pred", path.name):
        raise CheckpointError(f"{path}: by its name or metadata {VELOCITY}")
    for prefix, kind in (("conditioner.", "Stable Diffusion XL"), ("model.diffusion_model.joint_blocks.", "SD 3")):
        if any(key.startswith(prefix) for key in tensors):
            raise CheckpointError(f"{path}: this is {kind}; OSEDiff stands on Stable Diffusion 1.x or 2.x")
    key = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    if key not in tensors:
        raise CheckpointError(f"{path}: holds no Stable Diffusion ({key} is missing)")
    if tensors[key].ndim != 2:
        raise CheckpointError(f"{path}: {key} has shape {tuple(tensors[key].shape)}, expected a matrix")
    width, expected = tensors[key].shape[1], settings["unet"]["cross_attention_dim"]
    if width != expected:
        hint = "; this is Stable Diffusion 1.x, give its folder in diffusers layout instead" if width == 768 else ""
        raise CheckpointError(f"{path}: reads text of width {width}, 2.1-base of {expected}{hint}")


def with_prefix(tensors: Mapping[str, Tensor], prefix: str, *, keep: bool = False) -> dict[str, Tensor]:
    """Return the tensors of one part; others are not even read."""
    return {key if keep else key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}


def convert_open_clip(tensors: Mapping[str, Tensor], like: "CLIPTextModel") -> dict[str, Tensor]:
    """Rename the text tower of OpenCLIP to the names of `like`, and take as many layers: 2.x leaves out the last."""
    result, layers = {}, like.config.num_hidden_layers
    fixed = {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final.weight": "final_layer_norm.weight",
        "ln_final.bias": "final_layer_norm.bias",
    }
    for key, tensor in tensors.items():
        if key in fixed:
            result[fixed[key]] = tensor
        elif (match := re.match(r"transformer\.resblocks\.(\d+)\.(.+)", key)) and int(match[1]) < layers:
            layer, rest = f"encoder.layers.{match[1]}.", match[2]
            if rest.startswith("attn.in_proj_"):
                for name, part in zip("qkv", tensor.chunk(3), strict=True):
                    result[f"{layer}self_attn.{name}_proj.{rest.removeprefix('attn.in_proj_')}"] = part
            else:
                stem, _, kind = rest.rpartition(".")
                result[f"{layer}{OPEN_CLIP.get(stem, stem)}.{kind}"] = tensor
    outer = "text_model." if any(key.startswith("text_model.") for key in like.state_dict()) else ""
    return {f"{outer}{key}": tensor for key, tensor in result.items()}


def read_vae(path: Path, like: AutoencoderKL) -> AutoencoderKL:
    """Read another autoencoder of the same shape, float32: a diffusers folder, or a file in any of three layouts.

    The layouts: latent diffusion (with or without `first_stage_model.`), diffusers, and diffusers with its old names
    of attention. Raises CheckpointError.
    """
    if path.is_dir():
        vae = load_vae(path if (path / "vae").is_dir() else path.parent if path.name == "vae" else path)
        if (channels := vae.config.latent_channels) != (expected := like.config.latent_channels):
            raise CheckpointError(f"{path}: its latents have {channels} channels, those of the base {expected}")
        return vae
    tensors: Mapping[str, Tensor] = read_checkpoint(path)
    if any(key.startswith(VAE) for key in tensors):
        tensors = with_prefix(tensors, VAE)
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    tensors = {key: tensors[key] for key in tensors if key.startswith(parts)}
    vae = build_vae(dict(like.config), str(path), len(tensors))
    if any(key.startswith("encoder.down.") for key in tensors):
        try:
            tensors = convert_ldm_vae_checkpoint(tensors, dict(vae.config))
        except Exception as error:  # the library expects every tensor that it names
            raise CheckpointError(f"{path}: lacks tensors or has others: {first_line(error)}") from error
    fill(vae, modern_attention(tensors), str(path))
    return vae.eval()
