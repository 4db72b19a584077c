"""Bases beside the published one: Stable Diffusion 1.x, half precision; and those that cannot be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_core.errors import CheckpointError
from image_core.generator import predict_clean
from image_core.lora import add_lora, unet_targets
from image_core.models.base import check_base, load_unet, load_vae
from image_core.models.load import load_generator
from image_core.models.official import import_official
from image_core.prompts.embedding import Prompts
from image_core.prompts.text_encoder import TextEncoder
from tests.support.tiny_models import SCHEDULER, write_sd1_base, write_weights

IMAGE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    return write_sd1_base(tmp_path_factory.mktemp("sd1") / "base")


def test_an_older_base_says_what_it_is(sd1, tiny_base):
    facts = check_base(sd1)
    assert (facts.timestep, facts.text_width, facts.latent_channels) == (999, 24, 4)
    assert facts.alpha_bar == pytest.approx(0.004660095, abs=1e-9) and check_base(tiny_base).text_width == 32
    assert TextEncoder(sd1).tokens(["a cat"])[0, -1] == TextEncoder(sd1).tokens(["a cat"]).max()


def test_an_older_base_runs(sd1, tmp_path):
    bundle = import_official(sd1, write_weights(sd1, tmp_path / "w.pkl"), tmp_path / "b", merge=True, prompts=["a cat"])
    generator = load_generator(bundle)
    with torch.no_grad():
        results = [generator(IMAGE, Prompts(bundle)(prompt)) for prompt in ("", "a cat", "a harp")]
    assert results[0].shape == IMAGE.shape and not torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_an_older_base_learns(sd1):
    facts, unet = check_base(sd1), load_unet(sd1).requires_grad_(False)
    add_lora(unet, [name for names in unet_targets(unet).values() for name in names])
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    torch.manual_seed(0)
    noisy, target, text = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 77, facts.text_width)
    losses = []
    for _ in range(12):
        clean = predict_clean(noisy, unet(noisy, facts.timestep, text).sample, facts.alpha_bar)
        loss = torch.nn.functional.mse_loss(clean, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_schedule_is_the_base_s_own(sd1, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(sd1, base)
    path = base / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(SCHEDULER | {"beta_schedule": "linear", "num_train_timesteps": 500, "beta_end": 0.02}))
    betas = torch.linspace(0.00085, 0.02, 500, dtype=torch.float64)
    facts = check_base(base)
    assert facts.timestep == 499 and facts.alpha_bar == pytest.approx(float((1 - betas).prod()), rel=1e-4)


def refused(source, folder, change, words):
    base = folder / "base"
    shutil.copytree(source, base)
    change(base)
    with pytest.raises(CheckpointError, match=words):
        check_base(base)


def setting(part, **changes):
    def change(base):
        path = base / part
        old = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(old | changes))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: (b / "text_encoder_2").mkdir(), "Stable Diffusion XL: it needs two text encoders"),
        (setting("unet/config.json", addition_embed_type="text_time"), "Stable Diffusion XL"),
        (setting("model_index.json", _class_name="StableDiffusionXLPipeline"), "Stable Diffusion XL"),
        (lambda b: (b / "unet").rename(b / "transformer"), "Stable Diffusion 3 .*a transformer instead of a UNet"),
        (setting("model_index.json", _class_name="StableDiffusion3Pipeline"), r"rectified flow.*Expected a Stable"),
        (setting("scheduler/scheduler_config.json", prediction_type="v_prediction"), r"v-prediction base .*2\.1 .768"),
        (setting("scheduler/scheduler_config.json", rescale_betas_zero_snr=True), "no signal is left"),
        (setting("unet/config.json", in_channels=9), "takes 9 channels and gives 4.* inpainting"),
        (setting("unet/config.json", cross_attention_dim=32), "text of width 32, its text encoder writes 24"),
        (setting("vae/config.json", _class_name="AutoencoderTiny"), "holds a 'AutoencoderTiny"),
        (lambda b: (b / "unet" / "config.json").write_text("[]"), "expected settings, got a list"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(sd1, tmp_path, change, words):
    refused(sd1, tmp_path, change, words)


def test_a_weight_file_that_lacks_a_tensor_is_refused(sd1, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(sd1, base)
    file = base / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    del tensors["decoder.conv_in.bias"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"missing tensor decoder\.conv_in\.bias"):
        load_vae(base)


def test_half_precision_files_of_the_hub_are_read(sd1, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(sd1, base)
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        file = base / part / f"{name}.safetensors"
        save_file(
            {k: t.half() for k, t in load_file(file).items()},
            base / part / f"{name}.fp16.safetensors",
            {"format": "pt"},
        )
        file.unlink()
    with torch.no_grad():
        for old, new in zip(load_unet(sd1).parameters(), load_unet(base).parameters(), strict=True):
            assert new.dtype == torch.float32 and torch.equal(new, old.half().float())
    assert (TextEncoder(base).encode(["cat"]) - TextEncoder(sd1).encode(["cat"])).abs().max() < 0.01
