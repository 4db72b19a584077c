"""What ships makes nothing worse than a plain resize does: on images unlike those it has learnt from.

The embedded models with their real weights. "Plain" is bicubic; the bounds are wide of what was measured.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest

from osediff_video.metrics.image import gradient, grid, luma, psnr, ssim
from tests.support.embedded import MODELS, SCALE, embedded, plain, small

SAMPLES = Path(__file__).parent.parent.parent / "samples"
COLOURS = [(128, 128, 128), (8, 8, 8), (250, 250, 250), (120, 40, 200), (255, 0, 0), (0, 255, 0), (0, 0, 255)]


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return embedded(request.param)


def text():
    page = np.full((256, 384, 3), 235, np.uint8)
    for line in range(8):
        height = 0.5 + 0.08 * line
        cv2.putText(page, "The quick brown fox", (8, 28 + 30 * line), 0, height, (20, 20, 30), 1, cv2.LINE_AA)
    return page


def line_art():
    page = np.full((256, 256, 3), 255, np.uint8)
    for angle in np.arange(24) * np.pi / 12:
        end = (int(128 + 300 * np.cos(angle)), int(128 + 300 * np.sin(angle)))
        cv2.line(page, (128, 128), end, (0, 0, 0), 2, cv2.LINE_AA)
    for radius in range(20, 120, 20):
        cv2.circle(page, (128, 128), radius, (30, 30, 180), 2, cv2.LINE_AA)
    return page


def ramp():
    return np.repeat(np.tile(np.linspace(0, 255, 384).round().astype(np.uint8), (128, 1))[..., None], 3, axis=2)


def scene():
    """Smooth shading, soft and hard edges, and fine texture, as in a photograph."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256]
    page = 90 + 60 * np.sin(x / 40)[..., None] * np.cos(y / 55)[..., None] * np.array([1, 0.8, 0.6])
    page[(x - 90) ** 2 + (y - 100) ** 2 < 50**2] += 60
    page[150:220, 140:230] *= 0.4
    texture = cv2.GaussianBlur(rng.normal(0, 1, (256, 256)), (0, 0), 1.5)
    page[:, 180:] += 60 * texture[:, 180:, None]
    return np.clip(np.rint(page), 0, 255).astype(np.uint8)


def face():
    """A portrait's eyes, nose and hair: the truth in the last quarter of the README's picture, (360, 256, 3)."""
    return cv2.imread(str(SAMPLES / "face.png"), cv2.IMREAD_COLOR_RGB)[-360:, -256:]


def dark():
    return (scene() * 0.06).astype(np.uint8)


def overshoot(result, reference):
    """Mean over pixels of how far the result leaves the range that the reference has nearby. Levels of 255."""
    near = np.ones((9, 9), np.uint8)
    high, low = cv2.dilate(reference, near).astype(int), cv2.erode(reference, near).astype(int)
    return np.maximum(np.maximum(result - high, low - result), 0).mean()


def mean_error(result, reference):
    return np.abs(result.astype(int) - reference).mean()


@pytest.mark.parametrize("draw", [text, line_art, scene, face], ids=lambda draw: draw.__name__)
def test_letters_lines_scenes_and_faces_come_out_better_than_by_a_resize(model, draw):
    reference = draw()
    low = small(reference)
    result, resized, truth = luma(model(low)), luma(plain(low)), luma(reference)
    assert psnr(result, truth) > psnr(resized, truth)
    assert ssim(result, truth) > ssim(resized, truth)
    assert gradient(result) > gradient(resized)
    assert grid(result) < grid(resized)
    assert overshoot(model(low), reference) < 2.5


@pytest.mark.parametrize("draw", [dark, ramp], ids=lambda draw: draw.__name__)
def test_the_very_dark_and_the_smooth_stay_within_half_a_level_of_a_resize(model, draw):
    reference = draw()
    low = small(reference)
    assert mean_error(model(low), reference) < mean_error(plain(low), reference) + 0.5
    assert np.abs(model(low).mean((0, 1)) - plain(low).mean((0, 1))).max() < 0.5


@pytest.mark.parametrize("colour", COLOURS, ids=str)
def test_flat_colours_stay_flat(model, colour):
    low = np.full((24, 40, 3), colour, np.uint8)
    difference = np.abs(model(low).astype(int) - plain(low))
    assert difference.mean() < 1
    assert difference.max() <= 8


def test_noise_is_not_amplified(model):
    rng = np.random.default_rng(0)
    weak = np.clip(np.rint(128 + rng.normal(0, 8, (64, 64, 3))), 0, 255).astype(np.uint8)
    assert model(weak).std() < plain(weak).std()
    wild = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert model(wild).std() < 1.25 * plain(wild).std()
    for low in (weak, wild):
        assert np.abs(model(low).mean((0, 1)) - plain(low).mean((0, 1))).max() < 6
        assert grid(luma(model(low))) < grid(luma(plain(low)))


def test_what_is_sharp_already_stays_what_it_is(model):
    """Made small again, the result is the input: nothing was drawn over it."""
    low = np.concatenate([text()[:64, :128], line_art()[96:160, 64:192]])
    assert mean_error(small(model(low)), low) < mean_error(small(plain(low)), low) + 1


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (8, 8)], ids=str)
def test_tiny_images_are_no_worse_than_a_resize(model, size):
    low = small(scene())[20 : 20 + size[0], 20 : 20 + size[1]]
    result = model(low)
    assert result.shape == (size[0] * SCALE, size[1] * SCALE, 3)
    assert mean_error(small(result), low) < mean_error(small(plain(low)), low) + 3


def test_the_middle_of_a_large_image_is_as_good_as_a_small_one(model):
    """4,000 pixels wide, 16,000 of the result; alike everywhere, so that only the place can make a difference."""
    low = np.tile(small(scene())[:24], (1, 63, 1))[:, :4000]
    result = model(low)
    assert result.shape == (96, 16_000, 3)
    periods = result[:, 1024:-1152].reshape(96, -1, 256, 3).astype(int)
    assert np.abs(periods - periods[:, :1]).mean() < 1
    assert grid(luma(result)) < grid(luma(plain(low)))
