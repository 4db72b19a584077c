"""Build networks from settings that may come from anyone: checked by type and bound, built without memory.

diffusers' own `from_config` takes a text for the name of a repository and goes looking for it. Here a settings file is
an object whose every value is within what the method can use, and networks are built by their constructors on the meta
device: no memory, no network.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from image_core.autoencoder import LATENT_PX, LiteAutoencoder, LiteAutoencoderConfig
from image_core.errors import CheckpointError
from image_core.small_unet import REQUIRED, SmallUNet, SmallUNetConfig
from image_core.storage.json_rules import FLAG, NOTHING, Rule, check, either, list_of, number, one_of, shown, whole

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

MAX_WIDTH, MAX_LAYERS, MAX_BLOCKS = 8192, 16, 4
"""Far above any Stable Diffusion. More than four blocks of a UNet would need images of more than 64 px a side."""

ACTIVATIONS = one_of("silu", "swish", "mish", "gelu", "relu")
SAMPLE_SIZE = either(NOTHING, whole(1, 65_536), list_of(whole(1, 65_536), 2, 2))
PER_BLOCK = either(whole(1, MAX_LAYERS), list_of(whole(1, MAX_LAYERS), 1, MAX_BLOCKS))
HEADS = either(whole(1, 1024), list_of(whole(1, 1024), 1, MAX_BLOCKS))

UNET: Mapping[str, Rule] = {
    "sample_size": SAMPLE_SIZE,
    "in_channels": whole(1, 256),
    "out_channels": whole(1, 256),
    "flip_sin_to_cos": FLAG,
    "freq_shift": whole(0, 16),
    "down_block_types": list_of(one_of("CrossAttnDownBlock2D", "DownBlock2D"), 1, MAX_BLOCKS),
    "mid_block_type": one_of("UNetMidBlock2DCrossAttn"),
    "up_block_types": list_of(one_of("CrossAttnUpBlock2D", "UpBlock2D"), 1, MAX_BLOCKS),
    "only_cross_attention": FLAG,
    "block_out_channels": list_of(whole(1, MAX_WIDTH), 1, MAX_BLOCKS),
    "layers_per_block": PER_BLOCK,
    "mid_block_scale_factor": number(1e-3, 1e3),
    "dropout": number(0, 1),
    "act_fn": ACTIVATIONS,
    "norm_num_groups": whole(1, 1024),
    "norm_eps": number(1e-12, 1),
    "cross_attention_dim": whole(1, MAX_WIDTH),
    "transformer_layers_per_block": PER_BLOCK,
    "attention_head_dim": HEADS,
    "num_attention_heads": either(NOTHING, HEADS),
    "use_linear_projection": FLAG,
    "upcast_attention": FLAG,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
    "time_embedding_dim": either(NOTHING, whole(1, 4 * MAX_WIDTH)),
}

VAE: Mapping[str, Rule] = {
    "in_channels": one_of(3),
    "out_channels": one_of(3),
    "down_block_types": list_of(one_of("DownEncoderBlock2D"), 4, 4),  # three halvings: eight pixels a latent position
    "up_block_types": list_of(one_of("UpDecoderBlock2D"), 4, 4),
    "block_out_channels": list_of(whole(1, MAX_WIDTH), 4, 4),
    "layers_per_block": whole(1, MAX_LAYERS),
    "act_fn": ACTIVATIONS,
    "latent_channels": whole(1, 256),
    "norm_num_groups": whole(1, 1024),
    "sample_size": SAMPLE_SIZE,
    "scaling_factor": number(1e-3, 1e3),
    "force_upcast": FLAG,
    "use_quant_conv": FLAG,
    "use_post_quant_conv": FLAG,
    "mid_block_add_attention": FLAG,
}

LITE: Mapping[str, Rule] = {
    "latent_channels": whole(1, 256),
    "encoder_width": whole(1, MAX_WIDTH),
    "encoder_blocks": whole(0, 64),
    "decoder_width": whole(1, MAX_WIDTH),
    "decoder_blocks": whole(0, 64),
    "skip_px": one_of(*(side for side in (1, 2, 4, 8) if LATENT_PX % side == 0)),
}

SMALL_UNET_DEFAULTS: Mapping[str, Any] = {
    **REQUIRED,
    **{field.name: field.default for field in dataclasses.fields(SmallUNetConfig)},
    "center_input_sample": False,
    "downsample_padding": 1,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
    "attention_type": "default",
    "addition_embed_type_num_heads": 64,
}
"""The defaults of diffusers' UNet2DConditionModel that are neither None nor False, so that it need not be imported."""

ALWAYS_GIVEN = {
    "unet": ("block_out_channels", "down_block_types", "up_block_types"),
    "vae": ("block_out_channels", "down_block_types", "up_block_types"),
}


def build_unet(settings: Mapping[str, Any], where: str, tensors: int) -> "UNet2DConditionModel":
    """Build a UNet without memory (meta tensors).

    settings: of diffusers' UNet2DConditionModel. tensors: how many its weights are; it cannot have more layers.
    Raises CheckpointError for settings out of bounds, or that do not fit together.
    """
    from diffusers import UNet2DConditionModel

    used = known_settings(settings, UNET, defaults_of(UNet2DConditionModel), where, ALWAYS_GIVEN["unet"])
    layers, inner = (used.get(name, 1) for name in ("layers_per_block", "transformer_layers_per_block"))
    _refuse_more_layers(len(used["block_out_channels"]) * _most(layers) * _most(inner), tensors, where)
    return built(UNet2DConditionModel, used, where)


def build_small_unet(settings: Mapping[str, Any], where: str, tensors: int) -> SmallUNet:
    """Build the UNet of a small model without memory; as `build_unet`, for settings that `is_small` accepts."""
    known = known_settings(settings, UNET, SMALL_UNET_DEFAULTS, where, ALWAYS_GIVEN["unet"])
    used = {name: value for name, value in known.items() if name in SmallUNetConfig.__dataclass_fields__}
    layers = used.get("layers_per_block", SmallUNetConfig.layers_per_block)
    _refuse_more_layers(len(used["block_out_channels"]) * layers, tensors, where)

    def build(**values: Any) -> SmallUNet:
        return SmallUNet(SmallUNetConfig(**values))

    return built(build, used, where)


def build_vae(settings: Mapping[str, Any], where: str, tensors: int) -> "AutoencoderKL":
    """Build the VAE of Stable Diffusion without memory; as `build_unet`."""
    from diffusers import AutoencoderKL

    used = known_settings(settings, VAE, defaults_of(AutoencoderKL), where, ALWAYS_GIVEN["vae"])
    _refuse_more_layers(4 * used.get("layers_per_block", 1), tensors, where)
    return built(AutoencoderKL, used, where)


def build_lite(settings: Mapping[str, Any], where: str, tensors: int) -> LiteAutoencoder:
    """Build the embedded autoencoder without memory; as `build_unet`."""
    check(settings, LITE, where, needed=tuple(LITE))
    _refuse_more_layers(settings["encoder_blocks"] + settings["decoder_blocks"], tensors, where)
    with torch.device("meta"):
        return LiteAutoencoder(LiteAutoencoderConfig(**settings))


def known_settings(
    settings: Mapping[str, Any],
    rules: Mapping[str, Rule],
    defaults: Mapping[str, Any],
    where: str,
    needed: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Return the settings that `rules` know, checked; what else is given must say nothing, or its default.

    So files of older and newer versions of the library are read, and no feature is switched on that we do not know.
    Raises CheckpointError.
    """
    used = {name: value for name, value in settings.items() if name in rules and name in defaults}
    for name, value in settings.items():
        if name in used or name.startswith("_"):  # the latter are notes of the library: class, version, path
            continue
        default = defaults.get(name)
        default = list(default) if isinstance(default, tuple) else default
        is_default = value == default and isinstance(value, bool) == isinstance(default, bool)
        if value is not None and value is not False and not is_default:
            raise CheckpointError(f"{where}: {shown(name)} is {shown(value)}, which no model of this kind uses")
    check(used, rules, where, needed)
    return used


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the defaults of a constructor's parameters."""
    return {name: parameter.default for name, parameter in inspect.signature(kind).parameters.items()}


def built(kind: Any, settings: Mapping[str, Any], where: str) -> Any:
    """Build a network without memory. Raises CheckpointError for settings that do not fit together."""
    try:
        with torch.device("meta"):
            return kind(**settings)
    except Exception as error:  # whatever the library makes of numbers that do not fit together
        raise CheckpointError(f"{where}: its settings do not fit together: {first_line(error)}") from error


def _refuse_more_layers(layers: int, tensors: int, where: str) -> None:
    if layers > tensors:
        raise CheckpointError(f"{where}: speaks of {layers} layers, but there are only {tensors} tensors of weights")


def _most(value: int | list[int]) -> int:
    return max(value) if isinstance(value, list) else value


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message, or the error's kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
