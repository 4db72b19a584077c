"""A tiny decoder in the place of Stable Diffusion's: it decodes as diffusers does, and what does not fit is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from image_core.bundle import read_bundle
from image_core.device import memory
from image_core.errors import CheckpointError
from image_core.images import enlarge, to_images, to_tensor
from image_core.models.catalogue import find_model
from image_core.models.load import load_generator, load_upscaler
from image_core.models.tiny_decoder import copy_tiny
from image_core.options import UpscaleOptions
from tests.commands.test_cli import run
from tests.support.media_files import write_video
from tests.support.tiny_lite import sample_images

CPU = torch.device("cpu")


def write_tiny(folder, seed=0, **settings):
    torch.manual_seed(seed)
    widths, blocks = (8, 8, 8, 8), (1, 1, 1, 1)
    AutoencoderTiny(
        **{
            "encoder_block_out_channels": widths, "decoder_block_out_channels": widths,
            "num_encoder_blocks": blocks, "num_decoder_blocks": blocks,
        } | settings
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("decoders") / "tiny")


def loaded(bundle, folder, dtype=torch.float32, **options):
    options = UpscaleOptions(tiny_decoder=folder and str(folder), color_fix="none", **options)
    return load_upscaler(bundle, options, device=CPU, dtype=dtype)


@torch.inference_mode()
def test_it_decodes_as_diffusers_does(tiny_bundle, tiny_folder):
    image, model = sample_images(1, 16, 24)[0], load_generator(tiny_bundle)
    upscaler = loaded(tiny_bundle, tiny_folder)
    enlarged = to_tensor([enlarge(image, 64, 96)])
    latent = model.denoise(model.encode(enlarged), upscaler.embedding)
    expected = AutoencoderTiny.from_pretrained(tiny_folder).eval().decode(latent).sample
    result = upscaler([image])[0].astype(int)
    assert np.abs(result - to_images(expected.clamp(-1, 1), np.uint8)[0]).max() <= 1
    own = load_upscaler(tiny_bundle, UpscaleOptions(color_fix="none"), device=CPU, dtype=torch.float32)
    assert np.abs(result - own([image])[0]).mean() > 5
    assert upscaler.generator.autoencoder.vae.decoder is None  # its memory is free
    half = loaded(tiny_bundle, tiny_folder, torch.bfloat16)
    assert next(half.generator.autoencoder.tiny_decoder.parameters()).dtype == torch.bfloat16
    assert np.abs(half([image])[0] - result).mean() < 8


def test_other_weights_are_another_model_and_another_place_is_not(tiny_bundle, tiny_folder, tmp_path):
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    other = write_tiny(tmp_path / "other", seed=1)
    one, same, two = (loaded(tiny_bundle, folder).identity for folder in (tiny_folder, moved, other))
    assert one == same != two
    assert load_upscaler(tiny_bundle, UpscaleOptions(), device=CPU, dtype=torch.float32).identity not in (one, two)


def test_a_bundle_names_one_within_it_or_by_its_place(tiny_base, tiny_weights, tiny_bundle, tiny_folder, tmp_path):
    """What it names is used without being asked for, and an option asks for another, or for the VAE's own."""
    made = tmp_path / "made"
    words = ["models", "import", "--base", tiny_base, "--weights", tiny_weights, "--tiny-decoder", tiny_folder]
    run(*words, "-o", made)
    shown = run("models", "show", made)
    assert "see its own licence" in shown and f"decoder: the AutoencoderTiny in {made / 'tiny_decoder'}" in shown
    clip = write_video(tmp_path / "in.mp4", [0, 512], size=(16, 24))
    assert f"AutoencoderTiny in {made / 'tiny_decoder'}" in run("probe", clip, "--model", made)
    assert "AutoencoderTiny" not in run("probe", clip, "--model", made, "--tiny-decoder", "own")
    placed = shutil.copytree(tiny_bundle.path, tmp_path / "placed")
    values = json.loads((placed / "bundle.json").read_text()) | {"tiny_decoder": str(tiny_folder)}
    (placed / "bundle.json").write_text(json.dumps(values))
    image = sample_images(1, 16, 24)
    asked, own = loaded(tiny_bundle, tiny_folder)(image)[0], loaded(tiny_bundle, "own")(image)[0]
    other = write_tiny(tmp_path / "other", seed=1)
    for bundle in (read_bundle(made), read_bundle(placed)):
        assert np.array_equal(loaded(bundle, None)(image)[0], asked)
        assert np.array_equal(loaded(bundle, "own")(image)[0], own)
        assert np.array_equal(loaded(bundle, other)(image)[0], loaded(tiny_bundle, other)(image)[0])
    (made / "tiny_decoder" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json: altered or damaged"):
        loaded(read_bundle(made), None)
    with pytest.raises(CheckpointError, match="of 16 channels"):
        copy_tiny(write_tiny(tmp_path / "wide", latent_channels=16), 4, tmp_path)


def test_more_goes_through_the_model_at_once(tiny_bundle, tiny_folder, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda _: 2**30)
    said = []
    small, large = (
        load_upscaler(
            tiny_bundle, UpscaleOptions(tiny_decoder=tiny), device=CPU, dtype=torch.float32, report=said.append
        )
        for tiny in (str(tiny_folder), None)
    )
    assert said == [f"decoder: the AutoencoderTiny in {tiny_folder}"]
    assert small.planner.bytes_per_pixel < 0.8 * large.planner.bytes_per_pixel
    size = (300, 350)
    assert small.workload_for(*size).tile_px is None and large.workload_for(*size).tile_px


def changed(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def only_a_pickle(folder):
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.bin")


FAULTS = {
    "no settings": (lambda folder: (folder / "config.json").unlink(), "config.json: missing; expected the folder of"),
    "no weights": (lambda folder: (folder / "diffusion_pytorch_model.safetensors").unlink(), "safetensors: missing"),
    "a pickle": (only_a_pickle, "only a pickle; convert it to safetensors"),
    "another kind": (lambda folder: changed(folder, _class_name="AutoencoderKL"), "describes a 'AutoencoderKL'"),
    "channels": (lambda folder: write_tiny(folder, latent_channels=16), "of 16 channels, the model's have 4"),
    "scale": (lambda folder: changed(folder, scaling_factor=0.18215), "scaling_factor is 0.18215, expected 1"),
    "shift": (lambda folder: changed(folder, shift_factor=0.1), "shift_factor is 0.1, expected 0"),
    "growth": (lambda folder: changed(folder, num_decoder_blocks=[1, 1, 1]), "num_decoder_blocks is"),
    "widths": (lambda folder: changed(folder, decoder_block_out_channels=[8, 16, 8, 8]), "do not fit together"),
    "shapes": (lambda folder: changed(folder, decoder_block_out_channels=[16] * 4), "has shape"),
    "unknown": (lambda folder: changed(folder, residual=True), "'residual' is True, which no model of this kind uses"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_is_refused_in_a_line(name, tiny_bundle, tmp_path):
    spoil, expected = FAULTS[name]
    folder = write_tiny(tmp_path / "tiny")
    spoil(folder)
    with pytest.raises(CheckpointError) as caught:
        loaded(tiny_bundle, folder)
    assert expected in str(caught.value) and str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_models_with_a_small_decoder_refuse_it(tiny_folder):
    with pytest.raises(CheckpointError, match="has a small decoder of its own"):
        loaded(find_model("lite"), tiny_folder)


def test_the_command_uses_it(tiny_bundle, tiny_folder, tmp_path):
    from PIL import Image

    image = sample_images(1, 16, 24)[0]
    Image.fromarray(image).save(tmp_path / "in.png")
    words = ["--model", tiny_bundle.path, "--precision", "fp32", "--color-fix", "none", "--tiny-decoder", tiny_folder]
    run("image", tmp_path / "in.png", "-o", tmp_path / "out.png", *words)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), loaded(tiny_bundle, tiny_folder)([image])[0])
