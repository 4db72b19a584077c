"""A Stable Diffusion 2.1-base folder and an official checkpoint, both tiny and random."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from image_core.lora import RANK, unet_targets, vae_targets

SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}


def write_base(folder: Path) -> Path:
    torch.manual_seed(0)
    width = 32
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        cross_attention_dim=width,
        use_linear_projection=True,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    ).save_pretrained(folder / "vae")
    tokens = write_tokenizer(folder / "tokenizer")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=tokens - 2,
            eos_token_id=tokens - 1,
            pad_token_id=0,
        )
    ).save_pretrained(folder / "text_encoder")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    return folder


def write_tokenizer(folder: Path) -> int:
    """A byte-level vocabulary of single signs and a few merges. Returns its size."""
    signs = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    signs += [chr(256 + n) for n in range(256 - len(signs))]  # how CLIP spells the bytes that have no sign
    merges = ["c a", "ca t</w>", "s h", "a r", "ar p</w>"]
    words = ["!", *(s for s in signs if s != "!"), *(f"{s}</w>" for s in signs), *(m.replace(" ", "") for m in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "!",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(words)


def official_checkpoint(base: Path) -> dict[str, object]:
    """Random LoRA for `base` in the published layout: three adapters on the UNet, one on the VAE's encoder."""
    draw = torch.Generator().manual_seed(1)
    unet, vae = (
        kind.from_pretrained(base / name) for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"))
    )

    def pair(module, name, adapter):
        weight = module.get_submodule(name).weight
        shapes = (RANK, *weight.shape[1:]), (weight.shape[0], RANK, *(1 for _ in weight.shape[2:]))
        return {
            f"{name}.lora_{letter}.{adapter}.weight": 0.1 * torch.randn(shape, generator=draw)
            for letter, shape in zip("AB", shapes, strict=True)
        }

    groups = unet_targets(unet)
    unet_tensors = {
        "conv_in.base_layer.weight": torch.randn(unet.conv_in.weight.shape, generator=draw) * 0.1,
        "conv_in.base_layer.bias": torch.randn(unet.conv_in.bias.shape, generator=draw) * 0.1,
    }
    for group, names in groups.items():
        for name in names:
            unet_tensors |= pair(unet, name, f"default_{group}")
    vae_tensors = {}
    for name in vae_targets(vae):
        vae_tensors |= pair(vae, name, "default_encoder")
    return {
        "rank_unet": RANK,
        "rank_vae": RANK,
        **{f"unet_lora_{group}_modules": names for group, names in groups.items()},
        "vae_lora_encoder_modules": vae_targets(vae),
        "state_dict_unet": unet_tensors,
        "state_dict_vae": vae_tensors,
    }


def write_weights(base: Path, path: Path) -> Path:
    torch.save(official_checkpoint(base), path)
    return path


def write_sd1_base(folder: Path) -> Path:
    """As Stable Diffusion 1.x: heads counted, convolutions around attention, other padding, no word of epsilon."""
    torch.manual_seed(0)
    UNet2DConditionModel(
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=8,
        cross_attention_dim=24,
    ).save_pretrained(folder / "unet")
    AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
    ).save_pretrained(folder / "vae")
    tokens = write_tokenizer(folder / "tokenizer")
    settings = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text())
    settings["pad_token"] = "<|endoftext|>"
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    CLIPTextModel(CLIPTextConfig(vocab_size=tokens, eos_token_id=tokens - 1, **sizes)).save_pretrained(
        folder / "text_encoder"
    )
    (folder / "scheduler").mkdir()
    scheduler = {key: value for key, value in SCHEDULER.items() if key != "prediction_type"}  # as 1.x says it: not
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return folder
