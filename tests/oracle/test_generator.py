"""Parity with the authors' own code: golden inputs and outputs on a tiny random base (../shared/oracle).

Tolerances are what the official code itself shows between versions of its libraries.
"""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image

from cli.main import cli
from image_core.color import adain, wavelet
from image_core.draws.as_published import prepare, round_down, upscale_as_published, with_colors_of
from image_core.generator import predict_clean
from image_core.images import enlarge, to_images, to_tensor
from image_core.lora import add_lora, unet_targets, vae_targets
from image_core.models.load import load_generator, load_upscaler
from image_core.models.official import import_official
from image_core.models.single_file import SD21_SETTINGS
from image_core.options import AsPublished, UpscaleOptions
from image_core.prompts.embedding import Prompts
from image_core.prompts.text_encoder import TextEncoder

FORWARD = ["fwd_64x64_p0_mode", "fwd_64x64_p1_seed1234", "fwd_96x160_p1_mode"]


@pytest.fixture(scope="module")
def oracle(shared):
    return shared / "oracle"


@pytest.fixture(scope="module", params=[False, True], ids=["adapters", "merged"])
def bundle(oracle, tmp_path_factory, request):
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return import_official(oracle / "tiny_sd21", oracle / "tiny_osediff.pkl", out, merge=request.param)


@torch.no_grad()
def run(bundle, golden):
    generator = load_generator(bundle)
    image = to_tensor([golden["input_u8"]])
    text = Prompts(bundle)(str(golden["prompt"]))
    if "sample_noise" in golden:
        latent = generator.autoencoder.encode_draw(image, torch.from_numpy(golden["sample_noise"]))
    else:
        latent = generator.encode(image)
    return generator.decode(generator.denoise(latent, text), image)


@pytest.mark.parametrize("name", FORWARD)
def test_forward(bundle, oracle, name):
    golden = np.load(oracle / "generator" / f"{name}.npz")
    error = (run(bundle, golden) - torch.from_numpy(golden["output"])).abs()
    assert error.max() < 5e-4 and error.mean() < 1e-5


def test_merged_and_unmerged_agree(oracle, tmp_path):
    golden = np.load(oracle / "generator" / "fwd_96x160_p1_mode.npz")
    results = []
    for merge in (False, True):
        bundle = import_official(
            oracle / "tiny_sd21", oracle / "tiny_osediff.pkl", tmp_path / f"merge-{merge}", merge=merge
        )
        results.append(run(bundle, golden))
    assert (results[0] - results[1]).abs().max() < 2e-4


def test_alpha_bar(bundle):
    assert bundle.config.alpha_bar == pytest.approx(0.004660095, abs=1e-9)


def test_one_step(oracle, bundle):
    golden = np.load(oracle / "generator" / "ddpm_step.npz")
    clean = predict_clean(torch.from_numpy(golden["z"]), torch.from_numpy(golden["eps"]), bundle.config.alpha_bar)
    assert np.abs(clean.numpy() - golden["x0"]).max() < 1e-4


def test_prompts(oracle):
    golden = np.load(oracle / "generator" / "prompts.npz")
    encoder = TextEncoder(oracle / "tiny_sd21")
    prompts = golden["prompts"].tolist()
    assert np.array_equal(encoder.tokens(prompts).numpy(), golden["input_ids"])
    assert np.abs(encoder.encode(prompts).numpy() - golden["prompt_embeds"]).max() < 1e-5


@pytest.mark.parametrize(
    ("file", "image", "reference", "suffix"),
    [("colorfix_a", "target", "source", ""), ("final_96x160_p1_mode", "output_u8", "input_u8", "_u8")],
)
@pytest.mark.parametrize("fix", [adain, wavelet])
def test_colour_fix(oracle, file, image, reference, suffix, fix):
    golden = np.load(oracle / "generator" / f"{file}.npz")
    (result,) = to_images(fix(to_tensor([golden[image]]), to_tensor([golden[reference]])), np.uint8)
    # the official code truncates, we round: half of the values differ by the last level
    assert np.abs(result.astype(int) - golden[fix.__name__ + suffix].astype(int)).max() <= 1


def test_enlarging(oracle):
    low, high = (np.asarray(Image.open(oracle / "prep" / n)) for n in ("in_128x128.png", "out_128x128_x4_ps512.png"))
    assert np.array_equal(enlarge(low, 512, 512), high)


@pytest.mark.parametrize("name", ["128x128_x4_ps512", "37x50_x4_ps128", "41x33_x3_ps96"])
def test_images_are_prepared_as_published(oracle, name):
    size, scale, process = name.split("_")
    low, high = (np.asarray(Image.open(oracle / "prep" / f)) for f in (f"in_{size}.png", f"out_{name}.png"))
    ours = prepare(low, int(scale[1:]), int(process[2:]))
    assert ours.shape == high.shape and np.abs(ours.astype(int) - high.astype(int)).max() <= 1


def test_sizes_as_published(oracle):
    for case in json.loads((oracle / "prep" / "cases.json").read_text())["cases"]:
        width, height = case["in_wh"]
        ours = prepare(np.zeros((height, width, 3), np.uint8), case["upscale"], case["process_size"])
        assert [ours.shape[1], ours.shape[0]] == case["out_wh"]


def test_a_seeded_draw_as_published(oracle, bundle):
    golden = np.load(oracle / "generator" / "fwd_64x64_p1_seed1234.npz")
    options = UpscaleOptions(scale=1, color_fix="none")
    upscaler = load_upscaler(bundle, options, device=torch.device("cpu"), dtype=torch.float32)
    text = Prompts(bundle)(str(golden["prompt"]))
    result = upscale_as_published(upscaler, golden["input_u8"], AsPublished(seed=1234, process_px=64), text)
    expected = round_down(torch.from_numpy(golden["output"]) / 2 + 0.5)
    off = np.abs(result.astype(int) - expected.astype(int))
    assert off.max() <= 1 and (off == 0).mean() > 0.99


@pytest.mark.parametrize("fix", ["adain", "wavelet"])
def test_colours_and_rounding_as_published(oracle, fix):
    golden = np.load(oracle / "generator" / "final_96x160_p1_mode.npz")
    whole = np.load(oracle / "generator" / "fwd_96x160_p1_mode.npz")
    output = round_down(torch.from_numpy(whole["output"]) / 2 + 0.5)
    assert np.array_equal(output, golden["output_u8"])
    off = np.abs(with_colors_of(golden["input_u8"], output, fix).astype(int) - golden[f"{fix}_u8"].astype(int))
    assert off.max() <= 1 and (off == 0).mean() > 0.999


def test_command_line(oracle, bundle, tmp_path):
    golden = np.load(oracle / "generator" / "fwd_96x160_p1_mode.npz")
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    Image.fromarray(golden["input_u8"]).save(source)
    options = ["--scale", "1", "--prompt", str(golden["prompt"]), "--color-fix", "none", "--precision", "fp32"]
    outcome = CliRunner().invoke(cli, ["image", str(source), "-o", str(target), "--model", str(bundle.path), *options])
    assert outcome.exit_code == 0, outcome.output
    expected = (golden["output"][0].transpose(1, 2, 0) + 1) * 127.5
    assert np.abs(np.asarray(Image.open(target)).astype(float) - expected).max() <= 1


@pytest.fixture(scope="module")
def facts(oracle):
    return {path.stem: json.loads(path.read_text()) for path in (oracle / "fullsize").glob("*.json")}


@pytest.fixture(scope="module")
def full_size(facts):
    with torch.device("meta"):
        return UNet2DConditionModel(**facts["configs"]["unet"]), AutoencoderKL(**facts["configs"]["vae"])


def test_full_size_base(facts, full_size):
    for name, model in zip(("unet", "vae"), full_size, strict=True):
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in SD21_SETTINGS[name].items()}
        assert facts["configs"][name].items() <= (settings | dict(model.config)).items()
        assert settings.items() <= {k: list(v) if isinstance(v, tuple) else v for k, v in model.config.items()}.items()
        expected = {key: tuple(shape) for key, shape in facts["base_keys_shapes"][name].items()}
        assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == expected


def test_full_size_adapters(facts, full_size):
    unet, vae = full_size
    groups = unet_targets(unet)
    assert [len(names) for names in groups.values()] == [94, 148, 16] and len(vae_targets(vae)) == 32
    published = facts["osediff_pkl_keys_shapes"]
    ours = {}
    for module, named in ((unet, groups), (vae, {"encoder": vae_targets(vae)})):
        shapes = {}
        for group, names in named.items():
            for name in names:
                out, into, *kernel = module.get_submodule(name).weight.shape
                shapes[f"{name}.lora_A.default_{group}.weight"] = (4, into, *kernel)
                shapes[f"{name}.lora_B.default_{group}.weight"] = (out, 4, *(1 for _ in kernel))
        ours["unet" if module is unet else "vae"] = shapes
    ours["unet"] |= {f"conv_in.base_layer.{n}": tuple(p.shape) for n, p in unet.conv_in.named_parameters()}
    for name in ("unet", "vae"):
        assert ours[name] == {k: tuple(s) for k, s in published[f"state_dict_{name}"].items()}


def test_full_size_trainable_parameters(facts):
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**facts["configs"]["unet"]), AutoencoderKL(**facts["configs"]["vae"])
        unet.requires_grad_(False)
        vae.requires_grad_(False)
        unet.conv_in.requires_grad_(True)
        add_lora(unet, [name for names in unet_targets(unet).values() for name in names])
        add_lora(vae, vae_targets(vae))
    count = sum(p.numel() for model in (unet, vae) for p in model.parameters() if p.requires_grad)
    assert count == facts["counts"]["trainable"]["generator_total"] == 4_436_908
