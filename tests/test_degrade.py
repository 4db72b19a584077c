"""The degradation: same seed same bits, exact sizes, kernels that keep brightness, ranges that hold."""

import numpy as np
import pytest

from train.degrade import HEAVY, LIGHT, PRESETS, Noise, add_noise, degrade, jpeg
from train.kernels import SHAPE_CHANCES, Blur, blur_kernel, mahalanobis, sinc_kernel


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((96, 128, 3)), 0), 1)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_same_bits_and_exact_size(photo, preset):
    for seed in range(10):
        once, again = (degrade(photo, PRESETS[preset], np.random.default_rng(seed)) for _ in range(2))
        assert once.shape == (24, 32, 3) and once.dtype == np.uint8
        assert np.array_equal(once, again)


def test_other_seed_other_bits(photo):
    assert not np.array_equal(*(degrade(photo, HEAVY, np.random.default_rng(seed)) for seed in (0, 1)))


def test_light_is_milder_than_heavy(photo):
    area = photo.reshape(24, 4, 32, 4, 3).mean((1, 3)) * 255
    error = {
        name: np.mean([np.abs(degrade(photo, preset, np.random.default_rng(s)) - area).mean() for s in range(20)])
        for name, preset in PRESETS.items()
    }
    assert error["light"] < error["medium"] < error["heavy"]


def test_a_side_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="30 x 32"):
        degrade(np.zeros((32, 30, 3), np.float32), LIGHT, np.random.default_rng(0))


@pytest.mark.parametrize("size", [7, 13, 21])
def test_kernels_keep_brightness_and_are_symmetric_about_the_centre(size):
    rng = np.random.default_rng(size)
    for _ in range(200):
        kernel = blur_kernel(Blur(sigma=(0.2, 3)), size, rng)
        assert kernel.shape == (size, size) and kernel.sum() == pytest.approx(1, abs=1e-5)
        assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-6)


def test_gaussian_has_the_variance_asked_for():
    weight = np.exp(-0.5 * mahalanobis(41, 3.0, 1.5, 0.0))
    weight /= weight.sum()
    axis = np.arange(41) - 20
    assert (weight.sum(0) * axis**2).sum() == pytest.approx(9, rel=1e-2)
    assert (weight.sum(1) * axis**2).sum() == pytest.approx(2.25, rel=1e-2)


def test_sinc_passes_below_its_cutoff_and_stops_above():
    response = np.abs(np.fft.fft2(np.pad(sinc_kernel(21, np.pi / 2), ((0, 43), (0, 43)))))
    assert response[0, 4] == pytest.approx(1, abs=0.1)  # 4 / 64 of the sampling rate
    assert response[0, 28] < 0.1


def test_shape_chances_sum_to_one():
    assert sum(SHAPE_CHANCES) == pytest.approx(1)


def test_gaussian_noise_has_its_sigma_and_grey_noise_is_equal_in_all_channels():
    grey = np.full((128, 128, 3), 0.5, np.float32)
    coloured = add_noise(grey, Noise(1, (20, 20), (0, 0), grey=0), np.random.default_rng(0)) - 0.5
    assert coloured.std() == pytest.approx(20 / 255, rel=0.02)
    same = add_noise(grey, Noise(1, (20, 20), (0, 0), grey=1), np.random.default_rng(0))
    assert np.array_equal(same[..., 0], same[..., 2])


def test_poisson_noise_grows_with_the_root_of_brightness():
    ramp = np.repeat(np.linspace(0, 1, 256, dtype=np.float32)[None, :, None], 512, 0).repeat(3, 2)
    noise = add_noise(ramp * 0.6 + 0.2, Noise(0, (0, 0), (1, 1), grey=0), np.random.default_rng(0)) - (ramp * 0.6 + 0.2)
    dark, bright = noise[:, :32].std(), noise[:, -32:].std()
    assert bright / dark == pytest.approx((0.765 / 0.235) ** 0.5, rel=0.1)


def test_jpeg_is_a_real_one(photo):
    fine, coarse = (jpeg(photo, (q, q), np.random.default_rng(0)) for q in (95, 30))
    assert 0 < np.abs(fine - photo).mean() < np.abs(coarse - photo).mean()
