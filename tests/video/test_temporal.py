"""Cuts, motion and the blend along it."""

import itertools
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from image_core.errors import MediaError
from image_core.upscaler import Draft
from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from osediff_video.shots.cuts import SETTLED, mark_cuts, mark_listed_cuts, read_cut_list
from osediff_video.temporal import flow as flow_module
from osediff_video.temporal.blend import WARMUP_FRAMES, PixelBlend, next_state, steadied
from osediff_video.temporal.flow import Motion, dis_flow, enlarged, motion, warp
from osediff_video.temporal.steps import steps
from osediff_video.types import Frame
from tests.support.media_files import copy, info, read, write_video

HALF = PixelBlend.of(0.7, generative=False)


def scene(seed, height=96, width=128):
    """A smooth random texture, larger than a frame."""
    noise = np.random.default_rng(seed).random((height + 64, width + 64, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return smooth * (0.3 + 0.5 * np.random.default_rng(seed + 100).random(3, np.float32))


def view(texture, x, y, height=96, width=128):
    """The texture moved by a part of a pixel, uint8."""
    matrix = np.array([[1, 0, -x - 16], [0, 1, -y - 16]], np.float32)
    return np.rint(cv2.warpAffine(texture, matrix, (width, height), flags=cv2.INTER_CUBIC) * 255).astype(np.uint8)


def pan(seed, count, noise=0.0, step=(1.3, 0.4)):
    texture, draw = scene(seed), np.random.default_rng(seed)
    clean = [view(texture, step[0] * n, step[1] * n) for n in range(count)]
    noisy = [np.clip(image + draw.normal(0, noise, image.shape), 0, 255).round().astype(np.uint8) for image in clean]
    return clean, noisy if noise else clean


def frames(images):
    return [Frame(image, n) for n, image in enumerate(images)]


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (-2.4, 1.7), (0.5, -0.5), (6, 5)])
def test_known_shifts_are_found(shift):
    texture = scene(1)
    actual = motion(view(texture, 0, 0), view(texture, *shift))
    error = np.hypot(actual.flow[..., 0] - shift[0], actual.flow[..., 1] - shift[1])[16:-16, 16:-16]
    assert error.mean() < 0.15
    assert actual.confidence[16:-16, 16:-16].mean() > 0.85


def test_a_known_rotation_is_found():
    texture = scene(2)
    large = np.rint(texture * 255).astype(np.uint8)
    turn = cv2.getRotationMatrix2D((64 + 16, 48 + 16), 2, 1)
    turned = cv2.warpAffine(large, turn, large.shape[1::-1], flags=cv2.INTER_CUBIC)
    actual = motion(large[16:112, 16:144], turned[16:112, 16:144])
    y, x = np.mgrid[0:96, 0:128].astype(np.float32)
    inverse = cv2.invertAffineTransform(turn)
    expected_x = inverse[0, 0] * (x + 16) + inverse[0, 1] * (y + 16) + inverse[0, 2] - 16 - x
    expected_y = inverse[1, 0] * (x + 16) + inverse[1, 1] * (y + 16) + inverse[1, 2] - 16 - y
    error = np.hypot(actual.flow[..., 0] - expected_x, actual.flow[..., 1] - expected_y)[16:-16, 16:-16]
    assert error.mean() < 0.2


def test_warping_by_whole_pixels_is_exact_and_stays_inside():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    flow = np.zeros((20, 30, 2), np.float32)
    flow[..., 0], flow[..., 1] = 4, -3
    moved = warp(image, flow)
    assert np.array_equal(moved[3:, :-4], image[:-3, 4:])
    assert np.array_equal(warp(image, flow * 0), image)


def test_what_the_other_frame_does_not_show_is_not_trusted():
    texture = scene(3)
    before, now = view(texture, 0, 0), view(texture, 8, 0)  # the right edge is new
    actual = motion(before, now)
    assert actual.confidence[:, -6:].mean() < 0.2 < 0.8 < actual.confidence[16:-16, 16:-24].mean()
    unrelated = motion(view(scene(4), 0, 0), now)
    assert unrelated.confidence.mean() < 0.15


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8), (9, 15), (17, 16)])
def test_tiny_frames_have_some_sane_motion(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    actual = motion(image, image)
    assert actual.flow.shape == (*size, 2) and actual.confidence.shape == size
    assert np.isfinite(actual.flow).all() and actual.confidence.min() > 0.9


def test_enlarged_motion_is_in_the_larger_pixels():
    texture = scene(1)
    actual = motion(view(texture, 0, 0), view(texture, 3, 0))
    large = enlarged(actual, 384, 512)
    assert large.flow.shape == (384, 512, 2) and abs(np.median(large.flow[..., 0]) - 12) < 0.5


def spread(images, clean):
    """How much the error against a clean image changes from frame to frame."""
    errors = [image.astype(float) - truth for image, truth in zip(images, clean, strict=True)]
    return float(np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(errors)]))


def unchanged(marked, first=0):
    """Steps whose model is the identity."""
    return (replace(step, draft=Draft(step.frame.image)) for step in steps(marked, first, dis_flow))


def run(images, blend=HALF, segment=1000, first=0):
    return [step.output for step in steadied(unchanged(frames(images), first), blend, segment)]


@pytest.mark.parametrize("generative", [False, True])
def test_noise_on_a_pan_is_calmed_and_the_image_stays_sharp(generative):
    clean, noisy = pan(5, 16, noise=6)
    calm = run(noisy, PixelBlend.of(0.7, generative))
    inner = np.s_[16:-16, 32:-16]
    before, after = (spread([i[inner] for i in s], [i[inner] for i in clean]) for s in (noisy, calm))
    assert after < (0.8 if generative else 0.55) * before
    error = [np.mean((i[inner].astype(float) - t[inner]) ** 2) for i, t in zip(calm[4:], clean[4:], strict=True)]
    noise = [np.mean((i[inner].astype(float) - t[inner]) ** 2) for i, t in zip(noisy[4:], clean[4:], strict=True)]
    assert np.mean(error) < 0.8 * np.mean(noise)
    assert (
        np.abs(np.diff(calm[-1][inner].astype(float), axis=1)).mean()
        > 0.9 * np.abs(np.diff(clean[-1][inner].astype(float), axis=1)).mean()
    )


def test_a_still_image_gives_one_output_bit_for_bit():
    image = view(scene(6), 0, 0)
    outputs = run([image] * 20, segment=6)
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


def test_a_hard_cut_bleeds_nothing():
    first, second = pan(7, 8)[0], pan(8, 8)[0]
    marked = list(mark_cuts(frames(first + second)))
    assert [n for n, frame in enumerate(marked) if frame.cut] == [0, 8]
    together = [step.output for step in steadied(unchanged(marked), HALF, 1000)]
    alone = run(second)
    assert all(np.array_equal(a, b) for a, b in zip(together[8:], alone, strict=True))


def test_neither_motion_nor_a_flash_is_a_cut():
    moving = pan(9, 20, step=(5, 2))[0]
    assert [n for n, frame in enumerate(mark_cuts(frames(moving))) if frame.cut] == [0]
    flashed = [*moving[:10], np.full_like(moving[0], 255), *moving[11:]]
    assert [n for n, frame in enumerate(mark_cuts(frames(flashed))) if frame.cut] == [0]
    calm, plain = run(flashed), run(moving)
    assert np.array_equal(calm[10], flashed[10]) and np.abs(calm[14].astype(float) - plain[14]).mean() < 1  # no ghost
    black = [np.zeros_like(moving[0])] * 10
    assert [n for n, frame in enumerate(mark_cuts(frames(black))) if frame.cut] == [0]
    assert len(list(mark_cuts(frames(black[:1])))) == 1 and not list(mark_cuts([]))


def test_cuts_do_not_depend_on_where_reading_began():
    images = pan(7, 20)[0] + pan(8, 20)[0] + pan(9, 20)[0]
    whole = [frame.cut for frame in mark_cuts(frames(images))]
    for begin in (3, 15, 19, 20, 33):
        part = [frame.cut for frame in mark_cuts(frames(images[begin:]))]
        assert part[SETTLED:] == whole[begin + SETTLED :]


def test_a_list_of_cuts(tmp_path):
    (tmp_path / "cuts.txt").write_text("# two\n0.2\n0:00:00.4\n")
    times = read_cut_list(tmp_path / "cuts.txt")
    marked = mark_listed_cuts(frames([np.zeros((4, 4, 3), np.uint8)] * 15), times, info(time_base=Fraction(1, 25)))
    assert [frame.pts for frame in marked if frame.cut] == [0, 5, 10]
    (tmp_path / "cuts.txt").write_text("soon")
    for path in (tmp_path / "cuts.txt", tmp_path / "none.txt"):
        with pytest.raises(MediaError, match=path.name):
            read_cut_list(path)


def test_a_segment_depends_on_its_warm_up_alone():
    noisy = pan(5, 40, noise=6)[1]
    whole = run(noisy, segment=20)
    begun_late = run(noisy[20 - WARMUP_FRAMES :], segment=20, first=20 - WARMUP_FRAMES)
    assert all(np.array_equal(a, b) for a, b in zip(whole[20:], begun_late[WARMUP_FRAMES:], strict=True))
    endless = run(noisy)
    inside = np.abs(whole[19].astype(float) - endless[19]).mean()
    border = np.abs(whole[20].astype(float) - endless[20]).mean()
    assert inside == 0 and border < 0.3  # levels of 255: what is older than the warm-up


def test_depth_of_the_state_is_more_than_that_of_the_output():
    image = np.full((32, 32, 3), 100, np.uint8)
    state = None
    for step in unchanged(frames([image, image + 1, image])):
        state = next_state(state, step, HALF)
    assert state.image.dtype == np.float32 and 100 < state.image.mean() < 101


class Counting(PlainResize):
    def __init__(self, scale=1.0):
        super().__init__(scale)
        self.seen = 0

    def drafts(self, images, *rest):
        self.seen += len(images)
        return super().drafts(images, *rest)


def lossless_video(path, images):
    """The images as a video, bit for bit."""
    times = [40 * n for n in range(len(images))]
    base = Fraction(1, 1000)
    size = images[0].shape[:2]
    return write_video(path, times, time_base=base, codec="ffv1", pix_fmt="bgr0", images=images, tags=None, size=size)


def test_repeated_frames_cost_no_model_run_and_come_out_equal(tmp_path):
    moving = pan(5, 5, noise=4)[1]
    images = [image for image in moving for _ in range(4)]
    source = lossless_video(tmp_path / "in.mkv", images)
    for temporal in ("pixel", "off"):
        counting = Counting()
        upscale_video(source, tmp_path / f"{temporal}.mkv", counting, Encoding("ffv1"), VideoOptions(temporal=temporal))
        result = read(tmp_path / f"{temporal}.mkv")
        assert counting.seen == 5
        assert all(np.array_equal(result[n].image, result[n - n % 4].image) for n in range(20))


def test_off_is_what_images_alone_would_give(tmp_path):
    images = pan(5, 6, noise=4)[1]
    source = lossless_video(tmp_path / "in.mkv", images)
    copy(source, tmp_path / "out.mkv", Encoding("ffv1"), scale=2)
    alone = [PlainResize(2)([image])[0] for image in images]
    assert all(
        np.array_equal(frame.image, image) for frame, image in zip(read(tmp_path / "out.mkv"), alone, strict=True)
    )


def test_a_video_of_one_frame(tmp_path):
    source = write_video(tmp_path / "in.mp4", [0])
    assert copy(source, tmp_path / "out.mp4", temporal="pixel").frames == 1


def test_a_jump_that_no_flow_can_follow_leaves_the_frame_alone():
    texture = scene(11, 96, 1200)
    before, now = (view(texture, x, 0, 96, 200) for x in (0, 1000))
    assert motion(before, now).confidence.mean() < 0.15
    calm = run([before, now])
    assert (
        np.abs(calm[1].astype(float) - now).mean() < 2 and np.percentile(np.abs(calm[1].astype(float) - now), 95) < 12
    )


def test_a_fade_changes_the_shot_in_the_black_a_dissolve_nowhere_and_neither_leaves_a_ghost():
    first, second = pan(7, 30)[0], pan(8, 30)[0]
    out = [np.rint(image * (1 - n / 15)).astype(np.uint8) for n, image in enumerate(first[:16])]
    faded = [*out, *(np.rint(image * (n / 15)).astype(np.uint8) for n, image in enumerate(second[:16]))]
    assert {n for n, frame in enumerate(mark_cuts(frames(faded))) if frame.cut} <= {0, 15, 16, 17}
    mixed = [
        np.rint(a * (1 - n / 29) + b * (n / 29)).astype(np.uint8)
        for n, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    assert [n for n, frame in enumerate(mark_cuts(frames(mixed))) if frame.cut] == [0]
    for images in (faded, mixed):
        for calm, image in zip(run(images), images, strict=True):
            assert np.abs(calm.astype(float) - image).mean() < 1.5


def test_a_list_of_cuts_that_is_none_fails_before_work(tmp_path):
    source = write_video(tmp_path / "in.mp4", [0, 512])
    with pytest.raises(MediaError, match=r"none\.txt"):
        copy(source, tmp_path / "out.mp4", temporal="pixel", cuts=str(tmp_path / "none.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_what_is_known_of_a_frame_is_computed_once(monkeypatch):
    images = [np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8) for number in range(4)]
    counts = dict.fromkeys(("prepared", "blurred"), 0)
    for name in counts:
        whole = getattr(flow_module, name).compute

        def counted(image, name=name, whole=whole):
            counts[name] += 1
            return whole(image)

        monkeypatch.setattr(flow_module, name, flow_module.Remembered(counted))
    moved = [flow_module.motion(*pair) for pair in itertools.pairwise(images)]
    assert counts == {"prepared": 4, "blurred": 4}
    for one, (previous, current) in zip(moved, itertools.pairwise(images), strict=True):
        fresh = flow_module.motion(previous.copy(), current.copy())
        assert np.array_equal(one.flow, fresh.flow) and np.array_equal(one.confidence, fresh.confidence)


def test_the_blend_works_in_strips_that_nobody_sees():
    """The same bits as of the whole image at once, and no second one in memory."""
    draw, share = np.random.default_rng(3), np.float32(0.6)
    current = draw.integers(0, 256, (751, 1333, 3), np.uint8)
    previous = (draw.random(current.shape) * 255).astype(np.float32)
    large = Motion(
        draw.normal(0, 3, (751, 1333, 2)).astype(np.float32), draw.random((751, 1333)).astype(np.float32)
    )  # fmt: skip
    weight = share * large.confidence
    whole = cv2.blendLinear(current.astype(np.float32), warp(previous, large.flow), 1 - weight, weight)
    tracemalloc.start()
    mixed = PixelBlend(share, share).mixed(current, previous, large)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(mixed, whole)
    assert most < 1.5 * mixed.nbytes


def test_pairs_looked_at_at_once_give_the_same_motion_in_the_same_order():
    images = frames(pan(5, 9, noise=4)[0])
    images[4] = replace(images[4], cut=True)
    alone, together = (list(steps(images, 3, dis_flow, threads=threads)) for threads in (1, 4))
    assert [step.position for step in together] == list(range(3, 12))
    for one, other in zip(alone, together, strict=True):
        assert (one.motion is None) == (other.motion is None) == (one.position in (3, 7))
        if one.motion is not None:
            assert np.array_equal(one.motion.flow, other.motion.flow)
            assert np.array_equal(one.motion.confidence, other.motion.confidence)


def test_what_stops_the_frames_is_raised_after_the_pairs_before_it():
    def broken():
        yield from frames(pan(6, 4)[0])
        raise MediaError("the end")

    related = steps(broken(), 0, dis_flow, threads=3)
    assert [next(related).position for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(MediaError, match="the end"):
        next(related)


def test_as_many_pairs_are_looked_at_at_once_as_cores_and_memory_bear(monkeypatch):
    for cores, small, large in ((1, 1, 1), (4, 1, 1), (16, 4, 1), (128, 8, 1)):
        monkeypatch.setattr(flow_module, "cores", lambda cores=cores: cores)
        assert flow_module.flow_threads(180, 320) == small
        assert flow_module.flow_threads(2160, 3840) == large
