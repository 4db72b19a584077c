"""Images as the published test code makes them: tiles, seeds, names, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from image_core.draws.as_published import OVERLAP, TILE, noise_in_tiles, prepare, round_down, upscale_as_published
from image_core.errors import CheckpointError
from image_core.options import AsPublished, UpscaleOptions
from osediff_video import load_upscaler, upscale_image
from osediff_video.images.image_file import read_image
from tests.commands.test_cli import run
from tests.support.media_files import sample_image


@pytest.fixture(scope="module")
def published(tagging_bundle):
    return load_upscaler(str(tagging_bundle.path), UpscaleOptions(scale=1), precision="fp32")


def weights_as_published(side):
    x = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / side**2 / (2 * 0.01)) / np.sqrt(2 * np.pi * 0.01)
    y = np.exp(-((np.arange(side) - side / 2) ** 2) / side**2 / (2 * 0.01)) / np.sqrt(2 * np.pi * 0.01)
    return np.outer(y, x)


def offsets_as_published(length, side):
    offsets, end = [], 0
    while end < length:
        offsets.append(len(offsets) * (side - OVERLAP))
        end = offsets[-1] + side
    return [*offsets[:-1], length - side]


@pytest.mark.parametrize(("rows", "columns", "side"), [(100, 170, 96), (64, 200, 64), (97, 96, 96)])
def test_the_noise_of_large_latents_is_put_together_as_published(rows, columns, side):
    latent = torch.randn(1, 2, rows, columns, generator=torch.Generator().manual_seed(3))
    seen = []

    def predict(tile):
        seen.append(tile.shape[-2:])
        return tile * len(seen)  # each tile answers in its own way

    result = noise_in_tiles(predict, latent)
    total, weights, count = np.zeros((rows, columns)), np.zeros((rows, columns)), 0
    for left in offsets_as_published(columns, side):
        for top in offsets_as_published(rows, side):
            count += 1
            place = (slice(top, top + side), slice(left, left + side))
            total[place] += count * weights_as_published(side)
            weights[place] += weights_as_published(side)
    assert set(seen) == {(side, side)} and len(seen) == count > 1
    assert np.allclose(result[0, 0].numpy(), latent[0, 0].numpy() * total / weights, rtol=1e-4, atol=1e-5)


def test_small_latents_are_predicted_at_once():
    latent = torch.zeros(1, 1, TILE, TILE)
    assert noise_in_tiles(lambda whole: whole + 1, latent).eq(1).all()
    long = torch.zeros(1, 1, 8, 2000)
    assert noise_in_tiles(lambda tile: tile + 1, long).allclose(torch.ones(()))


def test_levels_are_rounded_down():
    levels = torch.tensor([0.0, 0.999, 1.0, 254.6, 255.0, 300.0, -5.0, 128.5]) / 255
    made = round_down(levels.view(1, 1, 1, 8).expand(1, 3, 1, 8))
    assert made[0, :, 0].tolist() == [0, 0, 1, 254, 255, 255, 0, 128]


def test_a_seed_is_a_draw(published):
    image = sample_image(0, 70, 64)
    first, again, other = (
        upscale_as_published(published, image, AsPublished(seed, process_px=64)) for seed in (4, 4, 5)
    )
    assert first.shape == (64, 64, 3) and np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first, upscale_image(image, model=published, as_published=AsPublished(4, process_px=64)))
    assert not np.array_equal(first, published([prepare(image, 1, 64)])[0])


def test_large_images_go_through_the_unet_in_tiles(published, monkeypatch):
    sizes = []
    plain = type(published.generator).predict_noise
    monkeypatch.setattr(
        type(published.generator),
        "predict_noise",
        lambda self, latent, text: sizes.append(tuple(latent.shape[-2:])) or plain(self, latent, text),
    )
    image = sample_image(0, 64, 120)
    whole = upscale_as_published(published, image, AsPublished(process_px=64))
    monkeypatch.setattr("image_core.draws.as_published.TILE", 8)
    tiled = upscale_as_published(published, image, AsPublished(process_px=64))
    assert sizes == [(8, 15), (8, 8), (8, 8), (8, 8)] and not np.array_equal(whole, tiled)


def test_the_command_keeps_names_and_writes_plain_files(tagging_bundle, tmp_path):
    (tmp_path / "in").mkdir()
    grey = Image.fromarray(sample_image(0, 20, 20)).convert("LA")
    grey.save(tmp_path / "in" / "a.png")
    Image.fromarray(sample_image(1, 20, 20)).save(tmp_path / "in" / "b.jpg")
    words = ["--as-published", "--model", tagging_bundle.path, "--scale", 1, "--precision", "fp32"]
    said = run("image", tmp_path / "in", "-o", tmp_path / "out", *words, "--seed", 7)
    assert "512 x 512 and not 20 x 20" in said and "transparency" in said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    made = read_image(tmp_path / "out" / "a.png")
    assert made.image.shape == (512, 512, 3) and made.alpha is None and not made.is_grey
    model = load_upscaler(str(tagging_bundle.path), UpscaleOptions(scale=1), precision="fp32")
    upscale_image(tmp_path / "in" / "a.png", tmp_path / "c.png", model=model, as_published=AsPublished(7))
    assert np.array_equal(read_image(tmp_path / "c.png").image, made.image)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--strength", "0.5"], "strength"),
        (["--adaptive"], "adaptive"),
        (["--guidance", "2"], "guidance"),
        (["--tile", "256"], "tile_px"),
        (["--scale", "1.5"], "whole scale"),
        (["--prompt-mode", "none"], "tags"),
        (["--size", "1080p"], "--size"),
        (["--uncertainty", "map.png"], "--uncertainty"),
        (["-o", "out.jpg"], "-o FOLDER"),
    ],
)
def test_what_the_published_code_does_not_know_is_refused(words, said, tmp_path):
    Image.fromarray(sample_image(0, 20, 30)).save(tmp_path / "a.png")
    output = run("image", tmp_path / "a.png", "-o", tmp_path / "out", "--as-published", *words, code=2)
    assert said in output and not (tmp_path / "out").exists()


def test_models_of_another_kind_are_refused_in_a_line(tiny_bundle, tmp_path):
    Image.fromarray(sample_image(0, 20, 30)).save(tmp_path / "a.png")
    words = ["image", tmp_path / "a.png", "-o", tmp_path / "out", "--as-published", "--model"]
    assert "the model lite is not the published one" in run(*words, "lite", code=1)
    assert "has no tagger" in run(*words, tiny_bundle.path, code=1)
    assert "expected -o FOLDER" in run("image", tmp_path / "a.png", "--as-published", code=2)
    assert "goes without" in run("image", tmp_path / "a.png", "-o", tmp_path, "--as-published", "--keep-tones", code=2)
    with pytest.raises(CheckpointError, match="nothing to draw from"):
        upscale_image(sample_image(0, 20, 30), model="lite", as_published=AsPublished())
    with pytest.raises(ValueError, match="strength"):
        upscale_image(
            tmp_path / "a.png", tmp_path / "b.png", options=UpscaleOptions(strength=0.5), as_published=AsPublished()
        )
