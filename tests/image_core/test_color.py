"""Colour fix: the reference's colours, the image's detail."""

import pytest
import torch

from image_core.color import ColorStats, adain, channel_statistics, low_frequencies, match_statistics, wavelet


def sample_images():
    draw = torch.Generator().manual_seed(0)
    detail = torch.rand(2, 3, 48, 64, generator=draw) * 2 - 1
    reference = torch.rand(2, 3, 48, 64, generator=draw) * 0.5 + 0.2
    return detail, reference


def test_adain_takes_over_means_and_deviations():
    detail, reference = sample_images()
    result, expected = channel_statistics(adain(detail, reference)), channel_statistics(reference)
    assert torch.allclose(result.mean, expected.mean, atol=1e-5)
    assert torch.allclose(result.std, expected.std, rtol=1e-3)


def test_statistics_can_be_kept_and_applied_later():
    detail, reference = sample_images()
    later = match_statistics(detail, channel_statistics(detail), channel_statistics(reference))
    assert torch.equal(later, adain(detail, reference))


def test_wavelet_takes_over_a_colour_cast_and_keeps_detail():
    detail, _ = sample_images()
    cast = torch.tensor([0.1, -0.05, 0.2])[None, :, None, None]
    assert torch.allclose(wavelet(detail, detail + cast), detail + cast, atol=1e-5)


def test_both_leave_a_image_alone_that_is_its_own_reference():
    detail, _ = sample_images()
    assert torch.allclose(adain(detail, detail), detail, atol=1e-5)
    assert torch.allclose(wavelet(detail, detail), detail, atol=1e-5)


def test_low_frequencies_keep_a_flat_image():
    flat = torch.full((1, 3, 16, 24), 0.25)
    assert torch.allclose(low_frequencies(flat), flat, atol=1e-6)


def test_a_flat_image_does_not_blow_up():
    flat = torch.zeros(1, 3, 16, 16)
    assert torch.isfinite(adain(flat, flat + 0.5)).all()


def test_a_flat_image_is_stretched_as_in_the_published_code():
    """Its 1e-5 is on [0, 1]: a flat grey image has a deviation of 0.00316 there, twice as much here."""
    assert torch.allclose(channel_statistics(torch.zeros(1, 3, 8, 8)).std, torch.tensor(2 * 1e-5**0.5))


def test_tones_move_the_mean_and_stretch_the_deviation():
    """Tones are in parts of white, of which an image from -1 to 1 has two."""
    detail, reference = sample_images()
    plain = channel_statistics(adain(detail, reference))
    tones = [ColorStats((0.1, 0.0, -0.2), (1.0, 1.5, 0.5))] * 2
    moved = channel_statistics(adain(detail, reference, tones))
    assert torch.allclose((moved.mean - plain.mean)[..., 0, 0], torch.tensor([0.2, 0.0, -0.4]), atol=1e-4)
    assert torch.allclose((moved.std / plain.std)[..., 0, 0], torch.tensor([1.0, 1.5, 0.5]), rtol=5e-3)


def test_low_frequencies_have_the_published_width():
    """Five binomial filters with holes of 1, 2, ... 16: half the sum of 4^n, 682, pixels of variance in a direction."""
    point = torch.zeros(1, 3, 257, 257)
    point[..., 128, 128] = 1
    row = low_frequencies(point)[0, 0].sum(0)
    distance = torch.arange(257) - 128
    assert float((row * distance**2).sum() / row.sum()) == pytest.approx(sum(4**n for n in range(5)) / 2, rel=1e-3)
