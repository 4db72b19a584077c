"""The blend inside the model, its revisions, and colours that do not pulse."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from image_core.images import enlarge
from image_core.models.catalogue import find_model
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.run import upscale_video
from osediff_video.temporal.blend import LatentBlend, PixelBlend, steadied
from osediff_video.temporal.flow import dis_flow
from osediff_video.temporal.steady_colors import STATS_FRAMES, STATS_SPAN, steady_colors
from osediff_video.temporal.steps import steps
from osediff_video.types import Frame
from tests.support.media_files import read
from tests.video.test_temporal import frames, lossless_video, pan, spread

CPU = {"device": torch.device("cpu"), "dtype": torch.float32}


@pytest.fixture(scope="module")
def lite():
    return load_upscaler(find_model("lite"), UpscaleOptions(scale=2), **CPU)


@pytest.fixture
def tiny(tiny_bundle):
    return load_upscaler(tiny_bundle, UpscaleOptions(scale=2), **CPU)


@pytest.mark.parametrize("name", ["lite", "tiny"])
@pytest.mark.parametrize("tile", [None, pytest.param(128, marks=pytest.mark.slow)])
def test_a_image_revised_to_what_it_was_stays_as_it_was(name, tile, request):
    upscaler = request.getfixturevalue(name)
    options = replace(upscaler.options, tile_px=tile, tile_overlap_px=32)
    upscaler = load_upscaler(
        find_model("lite") if name == "lite" else request.getfixturevalue("tiny_bundle"), options, **CPU
    )
    image = pan(1, 1)[0][0][:75, :90]  # 150 x 180: neither side divides by 8
    (draft,) = upscaler.drafts([image], revisable=True)
    (plain,) = upscaler([image])
    assert np.array_equal(draft.image, plain) and draft.latent.shape == draft.echo.shape
    guide = enlarge(image, *plain.shape[:2]).astype(np.float32)
    revised = upscaler.revise(draft, plain.astype(np.float32), guide)
    assert revised.shape == plain.shape and np.abs(revised - plain).max() <= 0.51  # the rounding of the image


def blend_video(upscaler, images, blend, segment=1000, first=0):
    related = steps(frames(images), first, dis_flow)
    drafted = (replace(s, draft=upscaler.drafts([s.frame.image], revisable=True)[0]) for s in related)
    return [step.output for step in steadied(drafted, blend, segment)]


def test_the_blend_in_the_latent_calms_what_each_frame_invents(lite):
    clean, noisy = pan(5, 10, noise=6)
    truth = [lite([image])[0] for image in clean]
    alone = [lite([image])[0] for image in noisy]
    pixel = PixelBlend.of(0.7, generative=False)
    calm = blend_video(lite, noisy, LatentBlend(pixel, lite))
    inner = np.s_[32:-32, 64:-32]
    before, after = (spread([i[inner] for i in s], [i[inner] for i in truth]) for s in (alone, calm))
    assert after < 0.75 * before
    assert np.array_equal(calm[0], alone[0])  # the first frame has nothing to carry


def test_the_blend_in_the_latent_begins_anew_at_a_cut_and_keeps_a_still(lite):
    first, second = pan(7, 3, noise=3)[1], pan(8, 3, noise=3)[1]
    related = [replace(f, cut=n in (0, 3)) for n, f in enumerate(frames(first + second))]
    drafted = (replace(s, draft=lite.drafts([s.frame.image], revisable=True)[0]) for s in steps(related, 0, dis_flow))
    together = [s.output for s in steadied(drafted, LatentBlend(PixelBlend.of(0.7, False), lite), 1000)]
    alone = blend_video(lite, second, LatentBlend(PixelBlend.of(0.7, False), lite))
    assert all(np.array_equal(a, b) for a, b in zip(together[3:], alone, strict=True))
    still = blend_video(lite, [*first, first[-1], first[-1]], LatentBlend(PixelBlend.of(0.7, False), lite))
    assert np.array_equal(still[2], still[3]) and np.array_equal(still[2], still[4])


@pytest.mark.parametrize("temporal", ["latent", "pixel"])
def test_a_video_through_a_model_of_the_published_kind(tiny, tmp_path, temporal):
    source = lossless_video(tmp_path / "in.mkv", [image[:32, :40] for image in pan(5, 5, noise=4)[1]])
    options = VideoOptions(temporal=temporal)
    assert tiny.color_fix == "adain"
    upscale_video(source, tmp_path / "a.mkv", tiny, Encoding("ffv1"), options)
    result = read(tmp_path / "a.mkv")
    assert [f.image.shape for f in result] == [(64, 80, 3)] * 5


@pytest.mark.parametrize(
    "temporal", ["latent", *(pytest.param(one, marks=pytest.mark.slow) for one in ("pixel", "off"))]
)
def test_results_do_not_depend_on_the_batch(tiny_bundle, tmp_path, temporal):
    source = lossless_video(tmp_path / "in.mkv", [image[:32, :40] for image in pan(5, 6, noise=4)[1]])
    result = []
    for batch in (1, 4):
        upscaler = load_upscaler(tiny_bundle, UpscaleOptions(scale=2, batch=batch), **CPU)
        target = tmp_path / f"{batch}.mkv"
        upscale_video(source, target, upscaler, Encoding("ffv1"), VideoOptions(temporal=temporal))
        result.append(np.stack([frame.image for frame in read(target)]).astype(int))
    assert np.abs(result[0] - result[1]).max() <= 1  # another order of additions


def test_off_is_bit_equal_to_images_alone(lite, tmp_path):
    images = [image[:40, :48] for image in pan(5, 4, noise=4)[1]]
    source = lossless_video(tmp_path / "in.mkv", images)
    upscale_video(source, tmp_path / "out.mkv", lite, Encoding("ffv1"), VideoOptions(temporal="off"))
    alone = [lite([image])[0] for image in images]
    assert all(np.array_equal(f.image, a) for f, a in zip(read(tmp_path / "out.mkv"), alone, strict=True))


def tones_of(images, cuts=(0,)):
    marked = [Frame(image, n, cut=n in cuts) for n, image in enumerate(images)]
    return [step.tone for step in steady_colors(steps(marked, 0, None))]


def test_a_pulse_is_smoothed_and_a_fade_is_not_delayed():
    base = pan(3, 1)[0][0] + np.random.default_rng(0).random((96, 128, 3))
    pulsing = [np.rint(base + (0.4 if n % 2 else -0.4) + 20).astype(np.uint8) for n in range(24)]
    shown = [image.mean() / 255 + tone.shift[1] for image, tone in zip(pulsing, tones_of(pulsing), strict=True)]
    assert np.std([i.mean() / 255 for i in pulsing]) > 1.5 / 1000
    assert np.ptp(shown[STATS_FRAMES:]) < 0.3 * np.ptp([i.mean() / 255 for i in pulsing[STATS_FRAMES:]])
    fading = [np.clip(base * (1 - n / 20), 0, 255).astype(np.uint8) for n in range(20)]
    lag = max(abs(shift) for tone in tones_of(fading) for shift in tone.shift)
    assert lag < 1 / 255
    scenes = pulsing[:6] + [np.full_like(pulsing[0], 200)] * 3
    after = tones_of(scenes, cuts=(0, 6))[6]
    assert max(map(abs, after.shift)) < 1e-9 and after.gain == pytest.approx((1, 1, 1))


@pytest.mark.parametrize("shown", [1, 3, 11, 40])
def test_tones_depend_on_the_last_frames_alone(shown):
    images = [image for image in pan(5, 60 // shown + 2, noise=5)[1] for _ in range(shown)]
    whole, part = tones_of(images), tones_of(images[10:], cuts=())
    for a, b in zip(whole[10 + STATS_SPAN :], part[STATS_SPAN:], strict=True):
        assert a == b
