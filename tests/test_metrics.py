"""Every score against an independent computation on small cases."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import cli
from osediff_video.metrics import FilmScores, gradient_kept, luma, picture_scores, psnr, ssim, warping_error
from osediff_video.picture import PictureFile, read_picture, write_picture
from tests.media_files import copy, picture, write_film
from tests.test_temporal import pan


def noisy(image, sigma, seed=0):
    return np.clip(np.rint(image + np.random.default_rng(seed).normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


def test_psnr_and_ssim_by_hand():
    a, b = picture(0), noisy(picture(0), 5)
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


def test_a_picture_against_itself_is_perfect():
    scores = picture_scores(picture(0), picture(0))
    assert scores["ssim_y"] == 1 and scores["psnr_y"] == 80 and scores["gradient"] == scores["gradient_kept"] == 1
    assert gradient_kept(np.full((48, 64, 3), 90, np.uint8), picture(0)) == 0


def test_warping_error_sees_what_does_not_move_along():
    clean = pan(5, 2)[0]
    still, weight = warping_error(clean[0], clean[1], clean[0], clean[1])
    shaken, _ = warping_error(noisy(clean[0], 6, 1), noisy(clean[1], 6, 2), clean[0], clean[1])
    assert weight > 0.5 * clean[0].shape[0] * clean[0].shape[1]
    # the warp averages some noise away: between one and two times its variance
    assert still / weight < 0.1 * shaken / weight and (6 / 255) ** 2 < shaken / weight < 2.1 * (6 / 255) ** 2


def test_a_film_with_noise_flickers_where_it_stands_still():
    scores = FilmScores()
    for n in range(4):
        scores.add(noisy(picture(0), 4, n), picture(0))
    means = scores.means()
    assert abs(means["flicker"] - 4 * np.sqrt(2) * np.sqrt(2 / np.pi)) < 0.3  # mean |difference of two normals|
    assert means["tof"] > 0 and set(means) >= {"psnr_y", "ssim_y", "e_warp", "e_star_warp"}
    cuts = FilmScores()
    cuts.add(picture(0), picture(0))
    cuts.add(255 - picture(9), 255 - picture(9), cut=True)
    assert "e_warp" not in cuts.means()


def test_the_official_values_are_reproduced(shared):
    folder = shared / "data" / "bench" / "RealSR20"
    with (folder / "official_metrics.csv").open() as file:
        expected = {row["image"].rsplit(".", 1)[0]: row for row in csv.DictReader(file)}
    results = sorted((folder / "official_osediff").iterdir())
    references = {path.stem.replace("_HR", "_LR4"): path for path in (folder / "HR").iterdir()}
    compared = 0
    for path in results:
        if path.stem not in expected:
            continue
        found = picture_scores(read_picture(path).image, read_picture(references[path.stem]).image)
        assert abs(found["psnr_y"] - float(expected[path.stem]["psnr"])) < 1e-3
        assert abs(found["ssim_y"] - float(expected[path.stem]["ssim"])) < 1e-4
        compared += 1
    assert compared == 20


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, ["eval", *map(str, words)])
    assert outcome.exit_code == code, outcome.output
    return outcome.output


def test_the_command_scores_films_pictures_and_folders(tmp_path):
    source = write_film(tmp_path / "a.mp4", [512 * n for n in range(4)])
    copy(source, tmp_path / "b.mp4")
    scores = json.loads(run(tmp_path / "b.mp4", source, "--json"))
    assert scores["mean"]["psnr_y"] > 30 and scores["definitions"].keys() == scores["mean"].keys()
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write_picture(tmp_path / name / "p.png", PictureFile(picture(0)))
    assert "80.0000" in run(tmp_path / "x", tmp_path / "y") and "BT.601" in run(
        tmp_path / "x" / "p.png", tmp_path / "y" / "p.png"
    )
    Image.fromarray(picture(0)[:20]).save(tmp_path / "small.png")
    assert "expected one size" in run(tmp_path / "small.png", tmp_path / "x" / "p.png", code=1)
    (tmp_path / "empty").mkdir()
    assert "no picture" in run(tmp_path / "empty", tmp_path / "x", code=1)


@pytest.mark.parametrize("size", [(4, 4), (11, 11), (12, 40)])
def test_tiny_films_have_scores(size):
    scores = FilmScores()
    for n in range(3):
        scores.add(picture(n, *size), picture(n, *size))
    assert np.isfinite(list(scores.means().values())).all()
