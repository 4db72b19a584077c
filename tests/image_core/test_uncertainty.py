"""Maps of what is uncertain: against closed forms, the same for the same seed, and as files."""

import types

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn
from torch.nn import functional as F

from cli.main import cli
from image_core.autoencoder import LATENT_PX
from image_core.draws.uncertainty import noise_level, spread
from image_core.generator import Generator
from image_core.models.load import load_upscaler
from image_core.options import Draws, UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.images.uncertainty_maps import UNITS_PER_LEVEL, overlay, overlay_path, top_level
from osediff_video.options import VideoOptions
from osediff_video.run import upscale_video
from tests.support.media_files import FAST, sample_image, write_video

STD, GAIN = 0.05, 0.3


class Silent(nn.Module):
    """A UNet that predicts no noise: the latent passes as it is."""

    config = types.SimpleNamespace(in_channels=3)

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, latent, timestep, text):  # noqa: ARG002
        return types.SimpleNamespace(sample=torch.zeros_like(latent))


class Linear:
    """Encodes to block means, unsure by STD, and decodes to GAIN times their copies."""

    decoder_sees_image = encodes_noisy = False

    def encode(self, image):
        return F.avg_pool2d(image, LATENT_PX)

    def encode_draw(self, image, noise):
        return self.encode(image) + STD * noise

    def decode(self, latent, image):  # noqa: ARG002
        return GAIN * latent.repeat_interleave(LATENT_PX, -1).repeat_interleave(LATENT_PX, -2)


class Sure:
    """A deterministic pair whose result is the enlarged image itself."""

    decoder_sees_image = encodes_noisy = True

    def encode(self, image):
        return F.avg_pool2d(image, LATENT_PX)

    def decode(self, latent, image):  # noqa: ARG002
        return image


def created(autoencoder, **options):
    generator = Generator(autoencoder, Silent(), alpha_bar=1.0)
    return Upscaler(generator, torch.zeros(1, 1, 8), UpscaleOptions(**options), bytes_per_pixel=1)


def test_the_spread_of_a_linear_model_is_known():
    draws = Draws(count=16, seed=3)
    actual = spread(created(Linear(), scale=1.0), sample_image(0, 64, 80), draws)
    source = torch.Generator().manual_seed(3)
    noise = torch.stack([torch.randn(1, 3, 8, 10, generator=source) for _ in range(16)])
    by_hand = (STD * GAIN * 127.5 * noise).std(0)[0].square().mean(0).sqrt()  # of these very draws
    assert np.allclose(actual.levels, by_hand.repeat_interleave(8, 0).repeat_interleave(8, 1), rtol=1e-3)
    many = spread(created(Linear(), scale=1.0), sample_image(0, 64, 80), Draws(count=200))
    assert many.kind == "posterior" and np.sqrt((many.levels**2).mean()) == pytest.approx(STD * GAIN * 127.5, rel=0.03)


def test_tiles_draw_the_same():
    image = sample_image(0, 96, 128)
    whole, tiled = (spread(created(Linear(), scale=4.0, tile_px=tile), image, Draws(4)).levels for tile in (None, 256))
    assert np.allclose(whole, tiled, atol=1e-3)


def test_a_sure_model_passes_on_the_noise_of_its_input():
    draw = np.random.default_rng(0)
    noisy = np.clip(120 + draw.normal(0, 6, (64, 80, 3)), 0, 255).round().astype(np.uint8)
    actual = spread(created(Sure(), scale=1.0), noisy, Draws(64))
    assert actual.kind == "noise" and actual.noise_levels == pytest.approx(6, rel=0.1)
    assert np.sqrt((actual.levels**2).mean()) == pytest.approx(actual.noise_levels, rel=0.02)
    twice = spread(created(Sure(), scale=2.0), noisy, Draws(64))
    # the cubic kernel a quarter of a pixel beside a sample: weights squared and summed, the same in both directions
    share = sum(w * w for w in (-0.0703125, 0.8671875, 0.2265625, -0.0234375))
    inner = twice.levels[8:-8, 8:-8]
    assert np.sqrt((inner**2).mean()) == pytest.approx(actual.noise_levels * share, rel=0.03)


def test_noise_is_measured_and_never_less_than_rounding():
    draw = np.random.default_rng(1)
    smooth = sample_image(5, 120, 160).astype(float) * 0.6 + 40
    for sigma in (2.0, 8.0):
        noisy = np.clip(smooth + draw.normal(0, sigma, smooth.shape), 0, 255).round().astype(np.uint8)
        assert noise_level(noisy) == pytest.approx(sigma, rel=0.15)
    assert noise_level(np.full((40, 40, 3), 77, np.uint8)) == pytest.approx(12**-0.5)
    assert noise_level(np.full((40, 40, 3), 77, np.uint16)) == pytest.approx(12**-0.5 / 257)
    assert noise_level(np.zeros((4, 4, 3), np.uint8)) == pytest.approx(12**-0.5)


def test_the_same_seed_gives_the_same_map_of_a_real_model(tiny_bundle):
    model = load_upscaler(tiny_bundle, UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    first, again, other = (spread(model, sample_image(0, 16, 24), Draws(3, seed)).levels for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and first.shape == (64, 96)
    assert first.max() > 0


@pytest.mark.parametrize("wrong", [{"count": 1}, {"count": 1000}, {"seed": -1}])
def test_wrong_draws_are_refused(wrong):
    with pytest.raises(ValueError, match="must be from"):
        Draws(**wrong)


def test_the_overlay_shows_where():
    levels = np.zeros((200, 200), np.float32)
    levels[:, 100:] = 3
    assert top_level(levels) == 4 and top_level(levels * 0) == 0.25
    shown = overlay(np.full((200, 200, 3), 100, np.uint8), levels, 4)
    assert np.ptp(shown[0, :100]) == 0 and np.abs(shown[0, 150].astype(int) - shown[0, 50]).max() > 50


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, list(map(str, words)))
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def test_the_command_writes_map_and_overlay(tmp_path):
    Image.fromarray(sample_image(0, 24, 32)).save(tmp_path / "in.png")
    words = ("image", tmp_path / "in.png", "--uncertainty", tmp_path / "map.png", "--draws", 3, "--precision", "fp32")
    assert "levels of 255" in run(*words)
    with Image.open(tmp_path / "map.png") as opened:
        assert opened.mode == "I;16" and opened.size == (128, 96)
        assert opened.text["Scale"].startswith(str(UNITS_PER_LEVEL)) and opened.text["Draws"].startswith("3 of noise")
        values = np.asarray(opened) / UNITS_PER_LEVEL
    from image_core.models.catalogue import find_model

    lite = load_upscaler(find_model("lite"), UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    assert np.abs(values - spread(lite, sample_image(0, 24, 32), Draws(3)).levels).max() <= 0.51 / UNITS_PER_LEVEL
    with Image.open(overlay_path(tmp_path / "map.png")) as opened:
        assert opened.mode == "RGB" and opened.size == (128, 96)
    assert "already exists" in run(*words, "-o", tmp_path / "b.png", code=1)
    assert "16-bit PNG" in run("image", tmp_path / "in.png", "--uncertainty", tmp_path / "m.jpg", "--overwrite", code=1)


def test_a_video_gets_a_map_for_every_frame(tmp_path):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(4)])
    (tmp_path / "maps").mkdir()
    options = VideoOptions(uncertainty=str(tmp_path / "maps"), draws=3)
    upscale_video(source, tmp_path / "out.mkv", created(Linear(), scale=1.0), FAST, options)
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == sorted(f"frame_{n:08d}{end}.png" for n in range(1, 5) for end in ("", "_overlay"))
    with Image.open(tmp_path / "maps" / "frame_00000003.png") as opened:
        assert np.asarray(opened).mean() / UNITS_PER_LEVEL == pytest.approx(STD * GAIN * 127.5, rel=0.2)


def test_the_folder_for_maps_is_checked_before_the_work(tmp_path):
    source = write_video(tmp_path / "in.mp4", [0, 512])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for folder, words in (
        ("full", "holds files already"),
        ("full/x", "exists and is not a folder"),
        ("no/maps", "no such folder"),
    ):
        assert words in run("upscale", source, "--uncertainty", tmp_path / folder, code=1)
    other = write_video(tmp_path / "other.mp4", [0, 512])
    assert "one video at a time" in run("upscale", source, other, "--uncertainty", tmp_path / "m", code=2)
