"""What users steer: guidance, strength, where it acts, adapters, tones."""

import cv2
import numpy as np
import pytest
import torch

from image_core.degradation import degradation, shares
from image_core.device.memory import Planner
from image_core.errors import CheckpointError
from image_core.generator import predict_clean
from image_core.images import enlarge, to_images, to_tensor
from image_core.keep_tones import TONE_BLOCK_PX, keep_tones, tones
from image_core.models.load import load_generator, load_upscaler
from image_core.models.official import import_official
from image_core.options import UpscaleOptions
from image_core.prompts.embedding import Prompts
from tests.support.tiny_lite import sample_images, upscaler

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


def texture(height=96, width=128, seed=0):
    """A sharp image of many leaves: discs in random colours, painted large and made small."""
    draw = np.random.default_rng(seed)
    large = np.full((4 * height, 4 * width, 3), 90, np.uint8)
    for _ in range(height * width // 40):
        centre = tuple(int(draw.integers(side)) for side in (4 * width, 4 * height))
        cv2.circle(large, centre, int(draw.integers(6, 60)), tuple(map(int, draw.integers(0, 256, 3))), -1)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"guidance": 0.5},
        {"guidance": float("nan")},
        {"guidance": 21.0},
        {"guidance": float("inf")},
        {"strength": -0.1},
        {"strength": 1.1},
        {"lora_scale": -1.0},
        {"lora_scale": float("nan")},
    ],
)
def test_wrong_values_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be from"):
        UpscaleOptions(**wrong)


def test_a_negative_prompt_without_guidance_is_refused():
    with pytest.raises(ValueError, match="does nothing at guidance 1"):
        UpscaleOptions(negative_prompt="blur")


def test_guidance_is_two_passes_in_one(tiny_bundle):
    model = load_generator(tiny_bundle)
    text, negative = (Prompts(tiny_bundle)(words) for words in ("a cat", "sharp"))
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        eps = [model.unet(latent, 999, side.expand(2, -1, -1)).sample for side in (negative, text)]
        target = predict_clean(latent, eps[0] + 3 * (eps[1] - eps[0]), model.alpha_bar)
        result = model.denoise_guided(latent, text, negative, 3.0)
        plain = model.denoise_guided(latent, text, negative, 1.0)
        assert torch.allclose(result, target, rtol=1e-3, atol=1e-3 * float(target.abs().max()))
        assert torch.allclose(plain, model.denoise(latent, text), rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    assert (result - plain).abs().max() > 0.01 * plain.abs().max()


def test_guidance_halves_what_fits_and_is_said(tiny_bundle, monkeypatch):
    output = []
    plain, guided = (
        load_upscaler(tiny_bundle, options, **CPU, report=output.append)
        for options in (
            UpscaleOptions(prompt="a cat"),
            UpscaleOptions(prompt="a cat", guidance=2.0, negative_prompt="sharp"),
        )
    )
    assert len(output) == 1 and "two passes" in output[0]
    image = sample_images(1, 16, 16)
    assert not np.array_equal(plain(image)[0], guided(image)[0])
    monkeypatch.setattr("image_core.device.memory.free_bytes", lambda _: 10**9)
    for model in (plain, guided):
        model.planner = Planner(model.device, 600)  # room for a million pixels
    assert plain.workload_for(900, 1000).tile_px is None and guided.workload_for(900, 1000).tile_px == 704
    same = plain.steered(UpscaleOptions(prompt="a cat", guidance=2.0, negative_prompt="sharp"))
    assert np.array_equal(same(image)[0], guided(image)[0]) and same.generator is plain.generator


def test_guidance_of_a_model_that_reads_no_prompts_is_refused():
    from image_core.models.catalogue import find_model

    with pytest.raises(CheckpointError, match="lite reads no prompts"):
        load_upscaler(find_model("lite"), UpscaleOptions(guidance=2.0), **CPU)


def test_strength_goes_from_the_round_trip_to_the_model(generator):
    image = sample_images(1, 24, 32)
    model = upscaler(generator)
    whole = model(image)[0]
    assert np.array_equal(upscaler(generator, strength=1.0)(image)[0], whole)
    padded = model.padded(to_tensor([enlarge(image[0], 96, 128)]))
    with torch.inference_mode():
        trip, clean = model.network().latent_of(padded), model.network().clean_latent(padded, model.embedding)
        half = model.network().clean_latent(padded, model.embedding, torch.full((1, 1, 12, 16), 0.5))
        assert torch.allclose(half, (trip + clean) / 2, atol=1e-4)
        expected = to_images(model.network().decoded(trip, padded), np.uint8)[0]
    assert np.array_equal(upscaler(generator, strength=0.0)(image)[0], expected)
    away = [
        np.abs(upscaler(generator, strength=s)(image)[0].astype(int) - whole).mean()
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert away == sorted(away, reverse=True) and away[0] > away[-1] == 0


@pytest.mark.parametrize("tile_px", [None, 128])
def test_fast_is_the_round_trip_and_asks_nothing_of_the_unet(generator, tile_px, monkeypatch):
    image = sample_images(1, 40, 56)
    model = upscaler(generator)
    padded = model.padded(to_tensor([enlarge(image[0], 160, 224)]))
    with torch.inference_mode():
        trip = model.network().decoded(model.network().latent_of(padded), padded)[..., :160, :224]
    monkeypatch.setattr(generator, "predict_noise", None)
    fast = upscaler(generator, fast=True, tile_px=tile_px)(image)[0]
    assert np.abs(fast.astype(int) - to_images(trip, np.uint8)[0]).max() <= (0 if tile_px is None else 1)
    assert np.array_equal(upscaler(generator, strength=0, tile_px=tile_px)(image)[0], fast)


def test_a_model_that_restores_in_its_unet_alone_is_not_fast(tiny_bundle):
    with pytest.raises(CheckpointError, match=r"restores in its UNet alone.*use --model lite"):
        load_upscaler(tiny_bundle, UpscaleOptions(fast=True), **CPU)


@pytest.mark.parametrize("steering", [{"strength": 0.5}, {"adaptive": True}, {"guidance": 2.0}])
def test_what_steers_the_unet_does_not_go_with_fast(steering):
    with pytest.raises(ValueError, match="leave fast or them out"):
        UpscaleOptions(fast=True, **steering)


def test_the_share_fits_any_size_and_tiles(generator):
    options = UpscaleOptions(strength=0.5)
    for size in ((5, 9), (13, 21), (40, 33)):
        share = shares(sample_images(1, *size), (4 * size[0], 4 * size[1]), options, 64)
        assert share.shape == (1, 1, *(max(8, -(-side * 4 // 8)) for side in size)) and torch.all(share == 0.5)
        assert upscaler(generator, strength=0.5, adaptive=True)(sample_images(1, *size))[0].shape == (
            *(4 * s for s in size),
            3,
        )
    image = sample_images(1, 72, 96)
    whole, tiled = (
        upscaler(generator, tile_px=tile, tile_overlap_px=64, adaptive=True)(image)[0] for tile in (None, 256)
    )
    assert np.abs(whole.astype(int) - tiled.astype(int)).mean() < 1
    assert shares(image, (288, 384), UpscaleOptions(), 64) is None


@pytest.mark.parametrize("harm", ["blur", "noise"])
def test_only_the_degraded_half_gets_the_models_work(generator, harm):
    sharp = texture()
    if harm == "blur":
        harmed = cv2.GaussianBlur(sharp, (0, 0), 1.2)
    else:
        sharp = cv2.GaussianBlur(sharp, (0, 0), 12)  # noise shows where nothing covers it
        harmed = np.clip(sharp + np.random.default_rng(1).normal(0, 10, sharp.shape), 0, 255).round().astype(np.uint8)
    image = sharp.copy()
    image[:, 64:] = harmed[:, 64:]
    local = degradation(to_tensor([image]))[0, 0]
    left, right = float(local[:, :52].mean()), float(local[:, 76:].mean())
    assert left < 0.15 and right > 0.6
    whole, none, some = (
        upscaler(generator, **options)([image])[0].astype(int)
        for options in ({}, {"strength": 0.0}, {"adaptive": True})
    )
    changed = [np.abs(some - other) for other in (whole, none)]
    assert changed[0][:, 320:].mean() < changed[1][:, 320:].mean()  # right: near the model
    assert changed[1][:, :192].mean() < changed[0][:, :192].mean()  # left: near the input


def test_a_clean_flat_image_needs_nothing():
    assert float(degradation(torch.full((1, 3, 20, 30), 0.3)).max()) == 0


@pytest.mark.parametrize("size", [(16, 16), (37, 91), (5, 130), (96, 64)])
def test_tones_are_kept_exactly(size):
    draw = torch.Generator().manual_seed(0)
    reference = torch.rand(2, 3, *size, generator=draw) * 2 - 1
    wild = torch.randn(2, 3, *size, generator=draw)  # most of it beyond black and white
    mild = reference * 0.3 + 0.1 + 0.05 * wild
    for image in (wild, mild):
        remaining = keep_tones(image, reference)
        assert remaining.abs().max() <= 1 and (tones(remaining) - tones(reference)).abs().max() < 1e-6
    assert torch.allclose(keep_tones(reference, reference), reference, atol=1e-6)
    # detail stays: what is added is smooth
    if min(size) > 2 * TONE_BLOCK_PX:
        added = keep_tones(mild * 0.5, reference * 0.5) - mild * 0.5
        assert added.diff(dim=-1).abs().mean() < 0.1 * mild.diff(dim=-1).abs().mean()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_low_band_of_a_result_is_that_of_its_input(generator, dtype):
    image = np.zeros((24, 32, 3), dtype)
    image[4:20, 5:30] = np.iinfo(dtype).max  # black and white: everything overshoots
    image[10:14] = np.iinfo(dtype).max // 3
    target = tones(to_tensor([enlarge(image, 96, 128)]))
    level = 2 / np.iinfo(dtype).max
    moved, remaining = (
        (tones(to_tensor(upscaler(generator, keep_tones=keep, color_fix="adain")([image]))) - target).abs().max()
        / level
        for keep in (False, True)
    )
    assert remaining <= 0.5 < moved


def test_lora_scale_multiplies_the_adapters(tiny_bundle, tiny_base, tiny_weights, tmp_path):
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    text = Prompts(tiny_bundle)(None)
    with torch.inference_mode():
        none, half, full, plain = (
            load_generator(tiny_bundle, lora_scale=scale).denoise(latent, text) for scale in (0.0, 0.5, 1.0, 1)
        )
    assert torch.equal(full, plain)
    away = [float((x - none).abs().mean()) for x in (none, half, full)]
    assert away == sorted(away) and away[1] > 0
    merged = import_official(tiny_base, tiny_weights, tmp_path / "merged", merge=True)
    with pytest.raises(CheckpointError, match="without --merge"):
        load_generator(merged, lora_scale=0.5)
    assert load_generator(merged).alpha_bar == load_generator(tiny_bundle).alpha_bar
