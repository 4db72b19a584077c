"""Colour fix: the reference's colours, the image's detail."""

import torch

from image_core.color import adain, channel_statistics, low_frequencies, match_statistics, wavelet


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
