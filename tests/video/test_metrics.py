"""Every score against an independent computation on small cases."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision.models import alexnet

from cli.main import cli
from image_core.errors import ModelNotFoundError
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.metrics.image import edges_kept, gradient_kept, image_scores, luma, mean_scores, psnr, ssim
from osediff_video.metrics.video import VideoScores, farneback, half, warping_error
from osediff_video.temporal.flow import dis_flow
from tests.support.media_files import copy, sample_image, write_video
from tests.video.test_temporal import pan


def noisy(image, sigma, seed=0):
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def test_psnr_and_ssim_by_hand():
    a, b = sample_image(0), noisy(sample_image(0), 5)
    y = [0.257 * i[..., 0].astype(float) + 0.504 * i[..., 1] + 0.098 * i[..., 2] + 16 for i in (a, b)]
    assert abs(psnr(luma(a), luma(b)) - 10 * np.log10(255**2 / np.mean((y[0] - y[1]) ** 2))) < 0.01
    # one window, straight from the paper
    small = [np.rint(luma(image[:11, :11])) for image in (a, b)]
    axis = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    weight = np.outer(axis, axis) / axis.sum() ** 2
    mean = [(weight * s).sum() for s in small]
    variance = [(weight * (s - m) ** 2).sum() for s, m in zip(small, mean, strict=True)]
    covariance = (weight * (small[0] - mean[0]) * (small[1] - mean[1])).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mean[0] * mean[1] + c1) * (2 * covariance + c2)
    expected /= (mean[0] ** 2 + mean[1] ** 2 + c1) * (sum(variance) + c2)
    assert abs(ssim(*(luma(image[:11, :11]) for image in (a, b))) - expected) < 1e-9


def test_a_flat_reference_has_no_edges_to_keep():
    flat = image_scores(sample_image(0), np.full((48, 64, 3), 90, np.uint8))
    assert flat.keys() == {"psnr_y", "ssim_y"}
    whole = image_scores(sample_image(0), sample_image(1))
    assert mean_scores([flat, whole])["edges"] == whole["edges"]  # a black frame does not take it from a video


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (8, 8)])
def test_the_smallest_images_have_the_scores_that_they_can_have(shape):
    image = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    scores = image_scores(image, image, {"lpips": lambda *_: float("nan")})
    assert scores["psnr_y"] == 80 and scores.keys() <= {"psnr_y", "gradient", "gradient_kept", "edges"}
    assert ("gradient" in scores) == (min(shape) > 1)


def test_a_image_against_itself_is_perfect():
    scores = image_scores(sample_image(0), sample_image(0))
    assert scores["ssim_y"] == 1 and scores["psnr_y"] == 80 and scores["gradient"] == scores["gradient_kept"] == 1
    assert gradient_kept(np.full((48, 64, 3), 90, np.uint8), sample_image(0)) == 0


def test_edges_by_hand():
    truth = np.zeros((40, 40, 3), np.uint8)
    truth[:, 20:] = 200  # one edge, of two columns: a twentieth of the image
    soft = np.zeros_like(truth)
    soft[:, 19:] = 100
    soft[:, 20:] = 150
    assert edges_kept(truth, truth) == 1 and gradient_kept(soft, truth) == pytest.approx(0.5)
    assert edges_kept(soft, truth) == pytest.approx(0.5)  # (75 + 25) / (100 + 100)


def test_warping_error_by_hand():
    draw = np.random.default_rng(0)
    before, now = (draw.integers(0, 256, (12, 14, 3), dtype=np.uint8) for _ in "ab")
    backward, forward = np.zeros((2, 12, 14, 2), np.float32)
    backward[..., 0], forward[..., 0] = -2, 2  # everything came from two columns to the left
    forward[4:6, 5] = 40  # two pixels that the other frame sends elsewhere: not seen again
    total = count = 0
    for y in range(12):
        for x in range(14):
            if y in (4, 5) and x == 7:
                continue  # comes from column 5
            came_from = min(max(x - 2, 0), 13)
            total += sum((int(now[y, x, c]) - int(before[y, came_from, c])) ** 2 for c in range(3)) / 3 / 255**2
            count += 1
    error, weight = warping_error(before, now, backward, forward)
    # the cubic kernel that reads the forward flow reaches a pixel beyond those two
    assert weight == pytest.approx(count, abs=8) and error / weight == pytest.approx(total / count, rel=0.02)


def test_warping_error_sees_what_does_not_move_along():
    clean = pan(5, 2)[0]
    flows = dis_flow(clean[1], clean[0]), dis_flow(clean[0], clean[1])
    still, weight = warping_error(clean[0], clean[1], *flows)
    shaken, _ = warping_error(noisy(clean[0], 6, 1), noisy(clean[1], 6, 2), *flows)
    assert weight > 0.5 * clean[0].shape[0] * clean[0].shape[1]
    # the warp averages some noise away: between one and two times its variance
    assert still / weight < 0.1 * shaken / weight and (6 / 255) ** 2 < shaken / weight < 2.1 * (6 / 255) ** 2


def test_motion_scores_by_hand():
    """tOF, E*_warp and MAWE of one pair, from an estimator that always says the same."""
    truth, result = pan(5, 2)[0], pan(6, 2, noise=5)[1]

    def two_right(source, target):
        flow = np.zeros((*source.shape[:2], 2), np.float32)
        flow[..., 0] = 2.0 if target.sum() > source.sum() else -2.0
        return flow

    scores = VideoScores(two_right)
    for pair in zip(result, truth, strict=True):
        scores.add(*pair)
    means = scores.means()
    small = [half(image).astype(float) / 255 for image in result]
    sign = -1 if half(result[0]).sum() < half(result[1]).sum() else 1
    columns = np.clip(np.arange(small[0].shape[1]) + sign * 2, 0, small[0].shape[1] - 1)
    expected = ((small[0][:, columns] - small[1]) ** 2).mean()
    assert means["e_star_warp"] == pytest.approx(1e3 * expected, rel=1e-4)
    assert means["mawe"] == pytest.approx(255**2 * expected / (9.5 * 2), rel=1e-4)
    flows = [
        cv2.calcOpticalFlowFarneback(
            *(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in pair), None, 0.5, 3, 15, 3, 5, 1.2, 0
        )
        for pair in (result, truth)
    ]
    assert means["tof"] == pytest.approx(np.linalg.norm(flows[0] - flows[1], axis=-1).mean(), rel=1e-5)
    assert np.array_equal(farneback(*truth), flows[1])


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("alex") / "alex.pth"
    torch.manual_seed(0)
    torch.save(alexnet(weights=None).state_dict(), path)
    return path


def test_tlp_is_the_difference_of_two_steps(backbone):
    from osediff_video.metrics.networks import lpips_distance

    distance = lpips_distance(backbone)
    truth, result = pan(5, 3)[0], pan(5, 3, noise=8)[1]
    scores = VideoScores(scorers={"lpips": distance})
    for pair in zip(result, truth, strict=True):
        scores.add(*pair)
    steps = [abs(distance(*result[n : n + 2]) - distance(*truth[n : n + 2])) for n in range(2)]
    means = scores.means()
    assert means["tlp"] == pytest.approx(100 * np.mean(steps)) and means["tlp"] > 0
    assert means["lpips"] == pytest.approx(np.mean([distance(a, b) for a, b in zip(result, truth, strict=True)]))
    assert distance(truth[0], truth[0]) == 0 and np.isnan(distance(truth[0][:8], truth[0][:8]))


def test_metrics_of_pyiqa_say_what_is_missing(monkeypatch):
    from osediff_video.metrics.networks import pyiqa_score

    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ModelNotFoundError, match=r"niqe .* pip install 'osediff-video\[metrics\]'"):
        pyiqa_score("niqe")


def test_a_video_with_noise_flickers_where_it_stands_still():
    scores = VideoScores()
    for n in range(4):
        scores.add(noisy(sample_image(0), 4, n), sample_image(0))
    means = scores.means()
    assert abs(means["flicker"] - 4 * np.sqrt(2) * np.sqrt(2 / np.pi)) < 0.3  # mean |difference of two normals|
    assert means["tof"] > 0 and set(means) >= {"psnr_y", "ssim_y", "e_warp", "e_star_warp"}
    cuts = VideoScores()
    cuts.add(sample_image(0), sample_image(0))
    cuts.add(255 - sample_image(9), 255 - sample_image(9), cut=True)
    assert "e_warp" not in cuts.means()


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, ["eval", *map(str, words)])
    assert outcome.exit_code == code, outcome.output
    return outcome.output if code else outcome.stdout


def test_the_command_scores_videos_images_and_folders(tmp_path, backbone):
    source = write_video(tmp_path / "a.mp4", [512 * n for n in range(4)])
    copy(source, tmp_path / "b.mp4")
    longer = write_video(tmp_path / "long.mp4", [512 * n for n in range(6)])
    messages = CliRunner().invoke(cli, ["eval", str(longer), str(source)]).stderr
    assert f"{source} ends after 4 frames, {longer} goes on" in messages
    scores = json.loads(run(tmp_path / "b.mp4", source, "--json"))
    assert scores["mean"]["psnr_y"] > 30 and scores["definitions"].keys() == scores["mean"].keys()
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write_image(tmp_path / name / "p.png", ImageFile(sample_image(0)))
    scored = json.loads(run(tmp_path / "x", tmp_path / "y", "--lpips", backbone, "--json"))
    assert scored["images"]["p.png"]["lpips"] == 0
    assert "80.0000" in run(tmp_path / "x", tmp_path / "y") and "BT.601" in run(
        tmp_path / "x" / "p.png", tmp_path / "y" / "p.png"
    )
    Image.fromarray(sample_image(0)[:20]).save(tmp_path / "small.png")
    assert "expected one size" in run(tmp_path / "small.png", tmp_path / "x" / "p.png", code=1)
    assert "no such file" in run(tmp_path / "x", tmp_path / "y", "--lpips", tmp_path / "none.pth", code=1)
    (tmp_path / "empty").mkdir()
    assert "no file name in common" in run(tmp_path / "empty", tmp_path / "x", code=1)


@pytest.mark.parametrize("size", [(4, 4), (11, 11), (12, 40)])
def test_tiny_videos_have_scores(size):
    scores = VideoScores()
    for n in range(3):
        scores.add(sample_image(n, *size), sample_image(n, *size))
    assert np.isfinite(list(scores.means().values())).all()


def test_the_warping_error_is_told_in_ten_thousandths():
    """As Lai et al. do; E*_warp in thousandths."""
    still = VideoScores(lambda source, _: np.zeros((*source.shape[:2], 2), np.float32))
    dark, light = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 151, np.uint8)  # a fifth of white apart
    for result in (dark, light):
        still.add(result, dark)
    means = still.means()
    assert means["e_warp"] == pytest.approx(0.04 * 1e4, rel=1e-4)
    assert means["e_star_warp"] == pytest.approx(0.04 * 1e3, rel=1e-4) and means["flicker"] == pytest.approx(51)
