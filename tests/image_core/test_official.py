"""The importer, on a tiny base and a checkpoint in the published layout; and everything it must refuse."""

import json
import pickle
import shutil

import pytest
import torch
from diffusers import UNet2DConditionModel

from image_core.errors import CheckpointError, OutputError
from image_core.lora import LoraWeights, add_lora, from_tensors, merge_lora, to_tensors, unet_targets
from image_core.models.load import load_generator
from image_core.models.official import import_official
from image_core.prompts.embedding import Prompts
from image_core.prompts.text_encoder import TextEncoder
from tests.support.tiny_models import official_checkpoint

IMAGE = torch.rand(1, 3, 64, 72, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.no_grad()
def run(bundle, prompt=None):
    return load_generator(bundle)(IMAGE, Prompts(bundle)(prompt))


def test_merged_and_unmerged_agree_and_lora_matters(tiny_base, tiny_weights, tiny_bundle, tmp_path):
    merged = import_official(tiny_base, tiny_weights, tmp_path / "merged", merge=True)
    assert "lora.unet.safetensors" in tiny_bundle.config.files and "lora.unet.safetensors" not in merged.config.files
    assert (run(merged) - run(tiny_bundle)).abs().max() < 2e-4
    base = UNet2DConditionModel.from_pretrained(tiny_base / "unet")
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = Prompts(merged)(None)
    with torch.no_grad():
        with_lora, without = (unet(noisy, 999, text).sample for unet in (load_generator(merged).unet, base))
    assert (with_lora - without).abs().max() > 1e-3


def test_half_precision_on_request(tiny_base, tiny_weights, tmp_path):
    bundle = import_official(tiny_base, tiny_weights, tmp_path / "half", merge=True, half=True)
    size = (bundle.path / "unet.safetensors").stat().st_size
    whole = import_official(tiny_base, tiny_weights, tmp_path / "whole", merge=True)
    assert size < 0.6 * (whole.path / "unet.safetensors").stat().st_size
    assert (run(bundle) - run(whole)).abs().mean() < 0.01


def test_stored_and_encoded_prompts_are_the_same(tiny_base, tiny_weights, tmp_path):
    bundle = import_official(tiny_base, tiny_weights, tmp_path / "b", merge=True, prompts=["a cat", "a cat", "sharp"])
    assert bundle.config.prompts == ("", "a cat", "sharp")
    fresh = TextEncoder(tiny_base).encode(["a cat", "a harp"])
    assert torch.allclose(Prompts(bundle)("a cat"), fresh[:1], atol=1e-6)
    assert torch.allclose(Prompts(bundle)("a harp"), fresh[1:], atol=1e-6)
    assert not torch.allclose(fresh[0], fresh[1])


def test_prompts_are_padded_and_cut_at_77_tokens(tiny_base):
    encoder = TextEncoder(tiny_base)
    ids = encoder.tokens(["a cat", "cat " * 100])
    assert ids.shape == (2, 77) and ids[0, -1] == 0 and ids[1, -1] == ids[0].max()
    assert encoder.tokens_cut("a cat") == 0 and encoder.tokens_cut("cat " * 100) == 102 - 77


def test_an_existing_bundle_is_not_overwritten(tiny_base, tiny_weights, tiny_bundle):
    with pytest.raises(OutputError, match="exists already"):
        import_official(tiny_base, tiny_weights, tiny_bundle.path, merge=False)


def changed(content, change):
    change(content)
    return content


DAMAGE = {
    "conv_in.lora_B": lambda c: c["state_dict_unet"].pop("conv_in.lora_B.default_encoder.weight"),
    "base_layer.bias": lambda c: c["state_dict_unet"].pop("conv_in.base_layer.bias"),
    "conv_in.base_layer.weight has shape": lambda c: c["state_dict_unet"].update(
        {"conv_in.base_layer.weight": torch.zeros(3, 3)}
    ),
    "quant_conv has shapes": lambda c: c["state_dict_vae"].update(
        {"quant_conv.lora_A.default_encoder.weight": torch.zeros(4, 9, 1, 1)}
    ),
    "decoder.conv_in has LoRA": lambda c: c["state_dict_vae"].update(
        {"decoder.conv_in.lora_A.default_encoder.weight": torch.zeros(4, 4, 3, 3)}
    ),
    "'rank_vae' is missing": lambda c: c.pop("rank_vae"),
    "mid_block.resnets.0.conv1 has no LoRA": lambda c: [
        c["state_dict_unet"].pop(f"mid_block.resnets.0.conv1.lora_{letter}.default_others.weight") for letter in "AB"
    ],
}


@pytest.mark.parametrize("words", DAMAGE)
def test_an_altered_checkpoint_is_refused_with_the_first_wrong_key(tiny_base, tmp_path, words):
    torch.save(changed(official_checkpoint(tiny_base), DAMAGE[words]), tmp_path / "osediff.pkl")
    with pytest.raises(CheckpointError, match=words):
        import_official(tiny_base, tmp_path / "osediff.pkl", tmp_path / "out", merge=True)
    assert [path.name for path in tmp_path.iterdir()] == ["osediff.pkl"]


class Code:
    def __reduce__(self):
        return print, ("code ran",)


def test_foreign_truncated_and_dangerous_files_are_refused(tiny_base, tiny_weights, tmp_path, capsys):
    whole = tiny_weights.read_bytes()
    torch.save({"model": torch.zeros(3)}, tmp_path / "foreign.pkl")
    (tmp_path / "cut.pkl").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pkl").write_text("not a checkpoint")
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"state_dict_unet": Code()}, protocol=2))
    torch.save({"state_dict_unet": Code()}, tmp_path / "code2.pkl")
    for name in ("foreign", "cut", "text", "code", "code2", "missing"):
        with pytest.raises(CheckpointError, match=rf"{name}\.pkl"):
            import_official(tiny_base, tmp_path / f"{name}.pkl", tmp_path / "out", merge=True)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, r"2\.1-base"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "stairs"}, "beta_schedule is 'stairs', expected one of"),
        ("unet/config.json", {"_class_name": "SD3Transformer2DModel"}, "holds a 'SD3"),
    ],
)
def test_bases_of_the_wrong_kind_are_refused(tiny_base, tiny_weights, tmp_path, file, changes, words):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / file).read_text())
    (base / file).write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=words):
        import_official(base, tiny_weights, tmp_path / "out", merge=True)


@pytest.mark.parametrize("part", ["scheduler", "unet", "vae", "tokenizer", "text_encoder"])
def test_an_incomplete_base_is_refused(tiny_base, tiny_weights, tmp_path, part):
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    shutil.rmtree(base / part)
    with pytest.raises(CheckpointError, match=part):
        import_official(base, tiny_weights, tmp_path / "out", merge=True)


def test_lora_survives_its_file_layout_and_can_be_half_merged():
    draw = torch.Generator().manual_seed(0)
    weights = LoraWeights(
        {
            "0": (torch.randn(4, 3, 3, 3, generator=draw), torch.randn(5, 4, 1, 1, generator=draw)),
            "2": (torch.randn(4, 7, generator=draw), torch.randn(2, 4, generator=draw)),
        }
    )
    again = from_tensors(to_tensors(weights), 2.0, "x")
    assert all(torch.equal(a, b) for name in "02" for a, b in zip(weights.pairs[name], again.pairs[name], strict=True))
    conv = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.Flatten(), torch.nn.Linear(7, 2))
    before = conv[0].weight.clone()
    merge_lora(conv, weights, strength=0.5)
    a, b = weights.pairs["0"]
    expected = torch.einsum("or,rihw->oihw", b[..., 0, 0], a)  # scale 2.0, half of it
    assert torch.allclose(conv[0].weight - before, expected, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"2\.lora_B is missing"):
        from_tensors({k: v for k, v in to_tensors(weights).items() if k != "2.lora_B"}, 2.0, "x")


def test_training_adapters_start_as_the_identity_and_sit_only_where_asked(tiny_base):
    unet = UNet2DConditionModel.from_pretrained(tiny_base / "unet").requires_grad_(False)
    noisy, text = torch.randn(1, 4, 8, 8), torch.zeros(1, 77, 32)
    with torch.no_grad():
        before = unet(noisy, 999, text).sample
    target = {name for names in unet_targets(unet).values() for name in names}
    add_lora(unet, target)
    with torch.no_grad():
        assert torch.allclose(unet(noisy, 999, text).sample, before, atol=1e-6)
    trainable = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert {name.split(".lora_")[0] for name in trainable} == target
