"""Weights in other layouts: single files of Stable Diffusion 2.1-base, and autoencoders of any age."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from image_core.errors import CheckpointError
from image_core.models.base import check_base, load_unet, load_vae
from image_core.models.official import Ingredients, make_bundle
from image_core.models.single_file import (
    SD21_SETTINGS,
    TEXT,
    convert_open_clip,
    read_vae,
    unfold_single_file,
    with_prefix,
)
from image_core.prompts.text_encoder import TextEncoder
from tests.support.old_layouts import ldm_unet, ldm_vae, open_clip
from tests.support.tiny_models import SCHEDULER, write_tokenizer, write_weights

SMALL = {
    "unet": {**SD21_SETTINGS["unet"], "block_out_channels": [32] * 4, "attention_head_dim": [2] * 4,
             "cross_attention_dim": 24},
    "vae": {**SD21_SETTINGS["vae"], "block_out_channels": [32] * 4},
    "text_encoder": {**SD21_SETTINGS["text_encoder"], "hidden_size": 24, "intermediate_size": 48,
                     "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 600},
    "scheduler": SD21_SETTINGS["scheduler"],
}  # fmt: skip


@pytest.mark.parametrize("layout", ["prefixed", "ldm", "old attention", "diffusers", "folder", "torch"])
def test_autoencoders_of_any_age_are_read(tiny_base, tmp_path, layout):
    vae = load_vae(tiny_base)
    tensors = {key: tensor + 1 for key, tensor in vae.state_dict().items()}
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = tmp_path / "vae.safetensors"
    if layout == "prefixed":
        names = {f"first_stage_model.{k}": t for k, t in ldm_vae(tensors).items()} | {"model_ema.decay": torch.zeros(1)}
    elif layout in ("ldm", "torch"):
        names = ldm_vae(tensors) | {"loss.logvar": torch.zeros(1)}
    elif layout == "old attention":
        names = {}
        for key, tensor in tensors.items():
            for new, name in old.items():
                key = key.replace(f".attentions.0.{new}.", f".attentions.0.{name}.")
            names[key] = tensor
        assert any(".query." in key for key in names)
    else:
        names = tensors
    if layout == "folder":
        vae.load_state_dict(tensors)
        vae.save_pretrained(path := tmp_path / "vae")
    elif layout == "torch":
        torch.save({"state_dict": names}, path := tmp_path / "vae.ckpt")
    else:
        save_file({key: tensor.contiguous() for key, tensor in names.items()}, path)
    result = read_vae(path, vae).state_dict()
    assert result.keys() == tensors.keys() and all(torch.equal(result[key], tensors[key]) for key in tensors)


def test_an_autoencoder_of_another_shape_is_refused(tiny_base, tmp_path):
    tensors = load_vae(tiny_base).state_dict()
    save_file(tensors | {"decoder.conv_in.bias": torch.zeros(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: decoder\.conv_in\.bias has shape \(3,\)"):
        read_vae(tmp_path / "a.safetensors", load_vae(tiny_base))


@torch.no_grad()
def see_through(unet):
    """Let the UNet give back its input, as one that predicts epsilon does at the last step."""
    for name, parameter in unet.named_parameters():
        if ".conv2." in name or ".proj_out." in name:
            parameter.zero_()  # every block passes on what it gets
    unet.conv_in.weight.zero_()
    unet.conv_out.weight.zero_()
    for channel in range(32):
        unet.conv_in.weight[channel, channel % 4, 1, 1] = 1
        unet.conv_out.weight[channel % 4, channel, 1, 1] = 1 / 8
    last = unet.up_blocks[-1].resnets[-1]
    last.conv_shortcut.weight.copy_(torch.eye(32, 64).roll(32, 1)[..., None, None])  # the skip, straight from conv_in


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A tiny Stable Diffusion 2.1-base as folder, tokenizer and single file, of the same weights."""
    folder = tmp_path_factory.mktemp("single")
    torch.manual_seed(0)
    unet, vae = UNet2DConditionModel(**SMALL["unet"]), AutoencoderKL(**SMALL["vae"])
    see_through(unet)
    text = CLIPTextModel(CLIPTextConfig(**SMALL["text_encoder"]))
    for name, model in (("unet", unet), ("vae", vae), ("text_encoder", text)):
        model.save_pretrained(folder / "base" / name)
    write_tokenizer(folder / "base" / "tokenizer")
    (folder / "base" / "scheduler").mkdir()
    (folder / "base" / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    tensors = ldm_unet(unet.state_dict()) | open_clip(text.state_dict())
    tensors |= {f"first_stage_model.{key}": tensor for key, tensor in ldm_vae(vae.state_dict()).items()}
    tensors["alphas_cumprod"] = torch.zeros(1000)
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, folder / "v2-1_512.safetensors")
    return folder


def test_a_single_file_holds_the_same_model_as_its_folder(single, tmp_path):
    unfolded = unfold_single_file(single / "v2-1_512.safetensors", single / "base" / "tokenizer", tmp_path / "b", SMALL)
    assert check_base(unfolded) == check_base(single / "base")
    for load in (load_unet, load_vae):
        old, new = load(single / "base").state_dict(), load(unfolded).state_dict()
        assert old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)
    assert torch.equal(*(TextEncoder(base).encode(["a cat"]) for base in (single / "base", unfolded)))


@pytest.mark.slow
def test_a_single_file_becomes_a_bundle(single, tmp_path, monkeypatch):
    monkeypatch.setattr(unfold_single_file, "__defaults__", (SMALL,))
    weights = write_weights(single / "base", tmp_path / "w.pkl")
    file, tokenizer = single / "v2-1_512.safetensors", single / "base" / "tokenizer"
    one = make_bundle(Ingredients(file, weights, tokenizer=tokenizer), tmp_path / "one", merge=True)
    two = make_bundle(Ingredients(single / "base", weights), tmp_path / "two", merge=True)
    assert one.config.files["unet.safetensors"] == two.config.files["unet.safetensors"]
    assert one.config.card["base"] == "v2-1_512.safetensors" and sorted(p.name for p in tmp_path.iterdir()) == [
        "one", "two", "w.pkl"
    ]  # fmt: skip


def test_full_size_names_of_a_single_file():
    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(**SD21_SETTINGS["text_encoder"]))
        unet, vae = UNet2DConditionModel(**SD21_SETTINGS["unet"]), AutoencoderKL(**SD21_SETTINGS["vae"])
    published = {"unet": unet.state_dict(), "vae": vae.state_dict()}  # tests/oracle holds them against the real ones
    names = ldm_unet(published["unet"])
    assert tuple(names["model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"].shape) == (
        320,
        1024,
    )
    assert "model.diffusion_model.output_blocks.2.1.conv.weight" in names and len(names) == 686
    back = convert_ldm_unet_checkpoint(names, dict(unet.config))
    assert {k: t.shape for k, t in back.items()} == {k: t.shape for k, t in published["unet"].items()}
    old = ldm_vae(published["vae"])
    assert tuple(old["encoder.mid.attn_1.q.weight"].shape) == (512, 512, 1, 1) and len(old) == 248
    back = convert_ldm_vae_checkpoint(old, dict(vae.config))
    assert back.keys() == published["vae"].keys()
    tower = with_prefix(open_clip(text.state_dict()), TEXT)
    assert "transformer.resblocks.23.attn.in_proj_weight" in tower
    assert {k: t.shape for k, t in convert_open_clip(tower, text).items()} == {
        k: t.shape for k, t in text.state_dict().items()
    }


def test_single_files_that_do_not_fit_are_refused(single, tmp_path):
    whole, tokenizer = single / "v2-1_512.safetensors", single / "base" / "tokenizer"
    with pytest.raises(CheckpointError, match="a single file holds no tokenizer; give the tokenizer/ folder"):
        unfold_single_file(whole, None, tmp_path / "b", SMALL)
    tensors = load_file(whole)
    turned = tensors["model.diffusion_model.out.2.weight"]
    first = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    for name, change, metadata, words in (
        ("v2-1_768-ema", {}, None, "v-prediction"),
        ("model", {}, {"modelspec.prediction_type": "v"}, "v-prediction"),
        ("velocity", {"model.diffusion_model.out.2.weight": -turned}, None, "does not predict epsilon"),
        ("noise", {"model.diffusion_model.out.2.weight": turned.flip(0)}, None, "does not predict epsilon"),
        ("xl", {"conditioner.a": torch.zeros(1)}, None, "Stable Diffusion XL"),
        ("sd3", {"model.diffusion_model.joint_blocks.0": torch.zeros(1)}, None, "SD 3"),
        ("sd1", {first: torch.zeros(32, 768)}, None, "this is Stable Diffusion 1.x, give its folder"),
        ("extra", {"model.diffusion_model.input_blocks.1.0.in_layers.2.bias": torch.zeros(1)}, None, "has shape"),
    ):
        save_file(tensors | change, tmp_path / f"{name}.safetensors", metadata)
        with pytest.raises(CheckpointError, match=words):
            unfold_single_file(tmp_path / f"{name}.safetensors", tokenizer, tmp_path / "b", SMALL)
    del tensors[first]
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="holds no Stable Diffusion"):
        unfold_single_file(tmp_path / "other.safetensors", tokenizer, tmp_path / "b", SMALL)
