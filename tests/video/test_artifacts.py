"""Scores of artefacts, on images whose faults are known because they are drawn."""

import cv2
import numpy as np
import pytest

from osediff_video.metrics.artifacts import chroma_rims, error_flicker, hatch
from osediff_video.metrics.contours import contour_score

SIDE = 160


def grey(values):
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, -1)


def slanted(angle=0.3, soft=0.8):
    """A straight edge through the middle, as soft as a sigmoid of that width."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return grey(40 + 170 / (1 + np.exp(-(np.cos(angle) * x + np.sin(angle) * y) / soft)))


def test_a_contour_against_itself_is_straight_and_as_crisp():
    score = contour_score(slanted(), slanted())
    assert score.jitter_px == 0 and score.width == 1 and score.compared > 50


def test_a_blur_makes_contours_wider_and_leaves_them_straight():
    clean = slanted()
    widths = [contour_score(cv2.GaussianBlur(clean, (0, 0), sigma), clean) for sigma in (1, 2, 3)]
    assert 1.05 < widths[0].width < widths[1].width < widths[2].width
    assert max(score.jitter_px for score in widths) < 0.08


def test_a_staircase_is_not_straight():
    clean = slanted()
    small = cv2.resize(clean, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    stairs = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    smooth = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    assert contour_score(stairs, clean).jitter_px > 1.3 * contour_score(smooth, clean).jitter_px


@pytest.mark.parametrize("waves_px", [0.5, 1.5])
def test_jitter_grows_with_the_waves_of_a_contour_and_not_with_a_shift(waves_px):
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    clean = slanted(0.0)
    waving = cv2.remap(clean, x + waves_px * np.sin(y), y, cv2.INTER_LINEAR)
    assert contour_score(waving, clean).jitter_px == pytest.approx(waves_px / 2**0.5, rel=0.3)
    assert contour_score(np.roll(clean, 1, 1), clean).jitter_px < 0.02


def test_bends_and_texture_are_no_straight_contours():
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    disc = grey(40 + 170 / (1 + np.exp((np.hypot(x, y) - 20) / 0.8)))
    assert contour_score(disc, disc) is None
    noise = np.random.default_rng(0).normal(0, 60, (SIDE, SIDE))
    texture = grey(120 + 3 * cv2.GaussianBlur(noise, (0, 0), 1.5))
    score = contour_score(texture, texture)
    assert score is None or score.compared < 50


def test_no_contours_no_score():
    assert contour_score(grey(np.full((64, 64), 90.0)), grey(np.full((64, 64), 90.0))) is None
    with pytest.raises(ValueError, match="must match"):
        contour_score(slanted(), slanted()[:-1])


def test_rims_are_colours_that_nothing_near_has():
    image = np.full((64, 64, 3), (200, 60, 40), np.uint8)
    image[:, 32:] = 90
    assert chroma_rims(image, image) == 0
    assert chroma_rims(image, cv2.GaussianBlur(image, (0, 0), 2)) == 0  # sharper, with the colours that were there
    rimmed = image.copy()
    rimmed[:, 32:34] = (60, 200, 220)
    assert chroma_rims(rimmed, image) == pytest.approx(2 / 64)
    brighter = np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8)
    assert chroma_rims(brighter, image) == 0  # of no other colour


def test_the_hatch_guard_sees_periods_of_blocks_and_no_noise():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    flat = 120 + 20 * np.sin(x / 40) + 10 * np.cos(y / 50)
    clean, noise = grey(flat), grey(flat + rng.normal(0, 4, flat.shape))
    assert hatch(clean, clean) == 0 and hatch(noise, clean) < 0.5
    for period in (2, 4, 8):
        amplitude = 2.0
        pattern = amplitude * np.cos(2 * np.pi * x / period) * np.cos(2 * np.pi * y / period)
        weak, strong = (hatch(grey(flat + factor * pattern), clean) for factor in (1, 2))
        assert 0.6 < weak < strong
        assert hatch(grey(flat + pattern), grey(flat + pattern)) == 0  # what the reference has is no fault
    stroke = flat.copy()
    stroke[60:62] = 30
    assert hatch(grey(stroke), clean) < 1


def test_only_a_changing_error_flickers():
    frames = [slanted(0.1 * number) for number in range(4)]
    darker = [frame - 20 for frame in frames]
    pulsing = [frame - 20 * (number % 2) for number, frame in enumerate(frames)]
    assert error_flicker(frames, frames) == 0
    assert error_flicker(darker, frames) == pytest.approx(0, abs=1e-6)
    assert error_flicker(pulsing, frames) == pytest.approx(20 * 219 / 255)
    with pytest.raises(ValueError, match="two frames"):
        error_flicker(frames[:1], frames[:1])
