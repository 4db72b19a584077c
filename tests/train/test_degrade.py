"""The degradation: every distribution against its definition, same seed same bits, exact sizes, real codecs."""

import dataclasses
import io
import math

import cv2
import numpy as np
import pytest
from PIL import Image

from train.data.degrade import (
    HEAVY,
    LIGHT,
    PRESETS,
    Camera,
    Degradation,
    Grain,
    Pass,
    add_sensor_noise,
    blur,
    degrade,
    draw_camera,
    jpeg,
    photograph,
    resize,
)
from train.data.kernels import KIND_CHANCES, KINDS, SIZES, Blur, Lens, draw_lens, kernel, mahalanobis, sinc_kernel

DRAWS = 4000
EDGE = 4000  # so large that whole pixels do not hide the factor


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((96, 128, 3)), 0), 1)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


@pytest.fixture(scope="module")
def cameras():
    rng = np.random.default_rng(5)
    return [draw_camera(Degradation(), EDGE, EDGE, rng) for _ in range(DRAWS)]


def assert_uniform(values, low, high):
    """Kolmogorov-Smirnov: the largest gap to the straight line, whose 0.1 % point is 1.95 / sqrt(n)."""
    values = np.sort((np.array(values, float) - low) / (high - low))
    assert len(values) > 50 and values[0] >= -1e-9 and values[-1] <= 1 + 1e-9
    steps = np.arange(len(values) + 1) / len(values)
    assert max(np.abs(values - steps[1:]).max(), np.abs(values - steps[:-1]).max()) < 1.95 / len(values) ** 0.5


def assert_share(hits, expected):
    """Within 3.5 standard deviations of a binomial draw."""
    hits = np.array(list(hits), float)
    assert abs(hits.mean() - expected) < 3.5 * (expected * (1 - expected) / len(hits)) ** 0.5 + 1e-9


# --- what is drawn, against REFERENCE: Real-ESRGAN with the values of its authors ---------------------------------


def test_kernels_are_drawn_as_published():
    rng = np.random.default_rng(1)
    lenses = [draw_lens(Degradation().first.blur, rng) for _ in range(4 * DRAWS)]
    assert None not in lenses
    for size in SIZES:
        assert_share((lens.size == size for lens in lenses), 1 / 8)
    assert SIZES == (7, 9, 11, 13, 15, 17, 19, 21)
    assert_share((lens.kind == "sinc" for lens in lenses), 0.1)
    assert_uniform([n.cutoff for n in lenses if n.kind == "sinc" and n.size < 13], math.pi / 3, math.pi)
    assert_uniform([n.cutoff for n in lenses if n.kind == "sinc" and n.size >= 13], math.pi / 5, math.pi)
    shaped = [lens for lens in lenses if lens.kind != "sinc"]
    for kind, chance in zip(KINDS, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), strict=True):
        assert_share((lens.kind == kind for lens in shaped), chance)
    turned = [lens for lens in shaped if "anisotropic" in lens.kind]
    round_ones = [lens for lens in shaped if "anisotropic" not in lens.kind]
    assert all(lens.sigma[0] == lens.sigma[1] and lens.angle == 0 for lens in round_ones)
    assert_uniform([lens.sigma[0] for lens in shaped], 0.2, 3)
    assert_uniform([lens.sigma[1] for lens in turned], 0.2, 3)
    assert_uniform([lens.angle for lens in turned], -math.pi, math.pi)
    assert_uniform([lens.beta for lens in shaped if "generalised" in lens.kind], 0.5, 4)
    assert_uniform([lens.beta for lens in shaped if "plateau" in lens.kind], 1, 2)


def test_the_second_stage_blurs_less_often_and_less(cameras):
    assert all(camera.passes[0].lens is not None for camera in cameras)
    assert_share((camera.passes[1].lens is not None for camera in cameras), 0.8)
    lenses = [c.passes[1].lens for c in cameras if c.passes[1].lens is not None and c.passes[1].lens.kind != "sinc"]
    assert_uniform([lens.sigma[0] for lens in lenses], 0.2, 1.5)


@pytest.mark.parametrize(
    ("stage", "up", "down", "keep", "low", "high", "base"),
    [(0, 0.2, 0.7, 0.1, 0.15, 1.5, EDGE), (1, 0.3, 0.4, 0.3, 0.3, 1.2, EDGE / 4)],
)
def test_sizes_are_drawn_as_published(cameras, stage, up, down, keep, low, high, base):
    sizes = [camera.passes[stage].size for camera in cameras]
    assert all(width == height for width, height in sizes)
    factors = np.array([width / base for width, _ in sizes])
    assert_share(factors > 1, up)
    assert_share(factors < 1, down)
    assert_share(factors == 1, keep)
    assert_uniform(factors[factors > 1], 1, high)
    assert_uniform(factors[factors < 1] + 0.5 / base, low, 1 + 1 / base)  # whole pixels, rounded down
    for mode in (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC):
        assert_share((camera.passes[stage].mode == mode for camera in cameras), 1 / 3)


@pytest.mark.parametrize(("stage", "sigma", "scale"), [(0, (1, 30), (0.05, 3)), (1, (1, 25), (0.05, 2.5))])
def test_noise_is_drawn_as_published(cameras, stage, sigma, scale):
    grains = [camera.passes[stage].grain for camera in cameras]
    assert_share((grain.kind == "gaussian" for grain in grains), 0.5)
    assert_share((grain.grey for grain in grains), 0.4)
    assert_uniform([grain.level * 255 for grain in grains if grain.kind == "gaussian"], *sigma)
    assert_uniform([grain.level for grain in grains if grain.kind == "poisson"], *scale)


def test_the_end_is_drawn_as_published(cameras):
    assert all(camera.size == (EDGE // 4, EDGE // 4) for camera in cameras)
    assert_share((camera.jpeg_last for camera in cameras), 0.5)
    assert_share((camera.ringing is not None for camera in cameras), 0.8)
    ringing = [camera.ringing for camera in cameras if camera.ringing is not None]
    assert_uniform([lens.cutoff for lens in ringing], math.pi / 3, math.pi)
    for size in SIZES:
        assert_share((lens.size == size for lens in ringing), 1 / 8)
    spread = np.random.default_rng(0).uniform(-0.5, 0.5, len(cameras))  # undoes the rounding to whole qualities
    for qualities in ([c.passes[0].jpeg for c in cameras], [c.jpeg for c in cameras]):
        assert min(qualities) == 30 and max(qualities) == 95
        assert_uniform(np.clip(qualities + spread, 30, 95), 30, 95)
    assert all(camera.passes[1].jpeg is None for camera in cameras)


def test_draws_do_not_hang_together(cameras):
    facts = np.array(
        [
            (one.size[0], one.jpeg, one.grain.grey, two.size[0], two.grain.grey, c.jpeg_last, c.jpeg, c.ringing is None)
            for c in cameras
            for one, two in [c.passes]
        ],
        float,
    )
    together = np.corrcoef(facts.T) - np.eye(facts.shape[1])
    assert np.abs(together).max() < 4 / DRAWS**0.5


# --- what is done -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_same_bits_and_exact_size(photo, preset):
    remaining = photo.copy()
    for seed in range(10):
        once, again = (degrade(photo, PRESETS[preset], np.random.default_rng(seed)) for _ in range(2))
        assert once.shape == (24, 32, 3) and once.dtype == np.uint8
        assert np.array_equal(once, again)
    assert np.array_equal(photo, remaining)


def test_the_smallest_image_and_another_scale_come_out_in_the_right_size():
    for seed in range(30):
        assert degrade(np.full((4, 8, 3), 0.5, np.float32), HEAVY, np.random.default_rng(seed)).shape == (1, 2, 3)
    halved = dataclasses.replace(HEAVY, scale=2)
    assert degrade(np.zeros((6, 10, 3), np.float32), halved, np.random.default_rng(0)).shape == (3, 5, 3)


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


@pytest.mark.parametrize("jpeg_last", [True, False])
def test_the_steps_come_in_the_published_order(photo, jpeg_last):
    lens, ringing = Lens(9, "gaussian", (1.5, 1.5)), Lens(11, "sinc", cutoff=1.5)
    first = Pass(lens, (100, 70), cv2.INTER_LINEAR, Grain("gaussian", 0.02, True), 60)
    second = Pass(None, (40, 30), cv2.INTER_CUBIC, Grain("gaussian", 0.01, False), None)
    camera = Camera((first, second), (32, 24), cv2.INTER_AREA, ringing, jpeg_last, 50)
    rng = np.random.default_rng(3)
    x = cv2.resize(cv2.filter2D(photo, -1, kernel(lens)), (100, 70), interpolation=cv2.INTER_LINEAR)
    x = jpeg(np.clip(x + rng.standard_normal((70, 100, 1), dtype=np.float32) * np.float32(0.02), 0, 1), 60)
    x = cv2.resize(x, (40, 30), interpolation=cv2.INTER_CUBIC)
    x = np.clip(x + rng.standard_normal((30, 40, 3), dtype=np.float32) * np.float32(0.01), 0, 1)
    x = x if jpeg_last else jpeg(x, 50)
    x = cv2.filter2D(cv2.resize(x, (32, 24), interpolation=cv2.INTER_AREA), -1, kernel(ringing))
    x = jpeg(x, 50) if jpeg_last else x
    expected = np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
    assert np.array_equal(photograph(photo, camera, np.random.default_rng(3)), expected)


@pytest.mark.parametrize("size", SIZES)
def test_kernels_keep_brightness_and_are_symmetric_about_the_centre(size):
    rng = np.random.default_rng(size)
    for _ in range(60):
        lens = draw_lens(Blur(sigma=(0.2, 3)), rng)
        weight = kernel(dataclasses.replace(lens, size=size))
        assert weight.shape == (size, size) and weight.sum() == pytest.approx(1, abs=1e-5)
        assert np.allclose(weight, weight[::-1, ::-1], atol=1e-6)
        assert lens.kind == "sinc" or weight.min() >= 0


def test_gaussian_has_the_variance_asked_for():
    weight = np.exp(-0.5 * mahalanobis(41, 3.0, 1.5, 0.0))
    weight /= weight.sum()
    axis = np.arange(41) - 20
    assert (weight.sum(0) * axis**2).sum() == pytest.approx(9, rel=1e-2)
    assert (weight.sum(1) * axis**2).sum() == pytest.approx(2.25, rel=1e-2)
    covariance = np.einsum("yx,x,y->", np.exp(-0.5 * mahalanobis(41, 3.0, 1.5, math.pi / 4)), axis, axis)
    assert covariance > 0  # turned from the x axis towards the y axis


def test_flanks_follow_their_formulas():
    def across(kind, beta):
        weight = kernel(Lens(21, kind, (2.0, 2.0), beta=beta))[10]
        return weight / weight[10]

    distance = (np.arange(21) - 10) / 2.0
    assert np.allclose(across("generalised", 0.7), np.exp(-0.5 * (distance**2) ** 0.7), atol=1e-6)
    assert np.allclose(across("plateau", 1.6), 1 / ((distance**2) ** 1.6 + 1), atol=1e-6)
    assert np.allclose(across("generalised", 1.0), across("gaussian", 1.0), atol=1e-6)


def test_sinc_passes_below_its_cutoff_and_stops_above():
    response = np.abs(np.fft.fft2(np.pad(sinc_kernel(21, np.pi / 2), ((0, 43), (0, 43)))))
    assert response[0, 4] == pytest.approx(1, abs=0.1)  # 4 / 64 of the sampling rate
    assert response[0, 28] < 0.1


def test_kind_chances_sum_to_one():
    assert sum(KIND_CHANCES) == pytest.approx(1)


def test_blur_mirrors_at_the_border_without_repeating_it(photo):
    lens = Lens(7, "gaussian", (2.0, 2.0))
    padded = np.pad(photo, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (0, 1))
    assert np.allclose(blur(photo, lens), (windows * kernel(lens)).sum((-1, -2)), atol=1e-5)
    assert resize(photo, (128, 96), cv2.INTER_CUBIC) is photo


def test_gaussian_noise_has_its_sigma_and_grey_noise_is_equal_in_all_channels():
    grey = np.full((128, 128, 3), 0.5, np.float32)
    coloured = add_sensor_noise(grey, Grain("gaussian", 20 / 255, False), np.random.default_rng(0)) - 0.5
    assert coloured.std() == pytest.approx(20 / 255, rel=0.02)
    assert abs(np.corrcoef(coloured[..., 0].ravel(), coloured[..., 1].ravel())[0, 1]) < 0.05
    same = add_sensor_noise(grey, Grain("gaussian", 20 / 255, True), np.random.default_rng(0))
    assert np.array_equal(same[..., 0], same[..., 2])


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_has_the_variance_of_its_photons(grey):
    ramp = np.repeat(np.linspace(51, 204, 154, dtype=np.float32)[None, :, None] / 255, 2048, 0).repeat(3, 2)
    noise = add_sensor_noise(ramp, Grain("poisson", 0.5, grey), np.random.default_rng(0)) - ramp
    assert np.abs(noise.mean((0, 2))).max() < 0.005
    # 154 levels: 256 photons at white; variance = 0.5^2 * brightness / 256
    assert np.allclose(noise.var((0, 2)) / (0.25 * ramp[0, :, 0] / 256), 1, atol=0.2)
    assert np.array_equal(noise[..., 0] - noise[..., 2], np.zeros_like(noise[..., 0])) == grey


def test_jpeg_is_a_real_one(photo):
    fine, coarse = (jpeg(photo, quality) for quality in (95, 30))
    assert 0 < np.abs(fine - photo).mean() < np.abs(coarse - photo).mean()
    file = io.BytesIO()
    Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(file, "jpeg", quality=30)  # libjpeg too, 4:2:0 too
    assert np.abs(np.asarray(Image.open(file)) / 255 - coarse).max() < 3 / 255
