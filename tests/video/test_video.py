"""Clips: one camera, fresh noise, a real encoder."""

import dataclasses

import numpy as np
import pytest

from train.data.codec import Coding, degrade_clip
from train.data.degrade import HEAVY, LIGHT, Degradation, draw_camera, photograph
from train.data.encoders import encode, encoder_options, transcode


@pytest.fixture(scope="module")
def clip():
    """Six grey frames, for which 4:2:0 costs nothing, of a smooth image that moves by four pixels."""
    smooth = np.cumsum(np.cumsum(np.random.default_rng(0).standard_normal((96, 128, 1)), 0), 1)
    levels = np.rint((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8).repeat(3, 2)
    return np.stack([levels[8:72, shift : shift + 96] for shift in range(0, 24, 4)])


def test_a_clip_has_one_camera_and_fresh_noise(clip):
    still = np.repeat(clip[:1], 4, 0)
    without = Coding(chance=0)
    noisy = degrade_clip(still, HEAVY, without, np.random.default_rng(7))
    assert noisy.shape == (4, 16, 24, 3) and not np.array_equal(noisy[0], noisy[1])
    silent = dataclasses.replace(HEAVY.first.noise, gaussian=1, sigma=(0, 0))
    first, second = (dataclasses.replace(stage, noise=silent) for stage in (HEAVY.first, HEAVY.second))
    for seed in range(10):  # without noise all frames of a still are alike: everything else is constant
        frames = degrade_clip(still, Degradation(first, second), without, np.random.default_rng(seed))
        assert all(np.array_equal(frames[0], frame) for frame in frames)
    rng = np.random.default_rng(7)
    camera = draw_camera(HEAVY, 64, 96, rng)
    assert np.array_equal(noisy[0], photograph(still[0].astype(np.float32) / np.float32(255), camera, rng))


@pytest.mark.parametrize(("codec", "fine", "coarse"), [("libx264", 18, 40), ("libx265", 18, 40), ("mpeg4", 2, 25)])
def test_a_clip_goes_through_a_real_encoder(clip, codec, fine, coarse):
    good, bad = (transcode(clip, codec, encoder_options(codec, quality)) for quality in (fine, coarse))
    assert good.shape == bad.shape == clip.shape and good.dtype == np.uint8
    error = [np.abs(result.astype(float) - clip).mean((1, 2, 3)) for result in (good, bad)]
    assert error[0].max() < 2 and error[1].mean() > 2 * error[0].mean()
    for number, result in enumerate(good):  # every frame in its place
        assert np.abs(result.astype(float) - clip).mean((1, 2, 3)).argmin() == number
    assert np.array_equal(good, transcode(clip, codec, encoder_options(codec, fine)))
    sizes = [sum(p.size for p in encode(clip, codec, encoder_options(codec, quality))) for quality in (coarse, fine)]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video", "libvpx-vp9"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (5, 33, 130)])
def test_clips_of_any_size_and_length_pass_the_encoder(codec, shape):
    grey = np.full((*shape, 3), 100, np.uint8)
    result = transcode(grey, codec, encoder_options(codec, 20))
    assert result.shape == grey.shape and np.abs(result.astype(int) - 100).max() <= 2


def test_an_unknown_encoder_is_refused(clip):
    with pytest.raises(ValueError, match="libx264"):
        transcode(clip, "libvpx", encoder_options("libvpx", 20))


def test_degraded_clips_repeat_by_seed_and_use_every_encoder(clip):
    coding = Coding()
    for seed in range(4):
        once, again = (degrade_clip(clip, LIGHT, coding, np.random.default_rng(seed)) for _ in range(2))
        assert once.shape == (6, 16, 24, 3) and np.array_equal(once, again)
    assert set(coding.quality) == {"libx264", "libx265", "mpeg4"}
    plain = degrade_clip(clip, LIGHT, Coding(chance=0), np.random.default_rng(0))
    assert not np.array_equal(plain, degrade_clip(clip, LIGHT, coding, np.random.default_rng(0)))
