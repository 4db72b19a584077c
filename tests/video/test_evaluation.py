"""Folder pairs, tables, and what is said where a metric has no weights."""

import csv
import json
import types

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from cli.main import cli
from image_core.errors import CheckpointError, ImageError
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.metrics.networks import parameters_as_mat
from osediff_video.metrics.table import PAPER, find_scorers, score_folders
from tests.support.media_files import sample_image

KNOWN = ("niqe", "dists", "fid", "musiq", "maniqa-pipal", "clipiqa")


class Brightness:
    """What pyiqa makes of a name: 100 x the mean, or of two images 100 x the difference of means."""

    def __init__(self, mode):
        self.metric_mode = mode

    def __call__(self, a, b=None, **_):
        if isinstance(a, str):
            return 7.5
        return 100 * (a.mean() - (0 if b is None else b.mean()))


@pytest.fixture
def pyiqa(monkeypatch):
    """The package where only three metrics have weights."""

    def create_metric(name, device, **settings):  # noqa: ARG001
        print("Loading pretrained model")  # noqa: T201 - as pyiqa does
        if name == "clipiqa":
            raise ModuleNotFoundError("No module named 'pkg_resources'", name="pkg_resources")
        if name in ("musiq", "maniqa-pipal"):
            raise OSError("Name or service not known\nand more")
        return Brightness("FR" if name == "dists" else "NR")

    fake = types.SimpleNamespace(list_models=lambda: list(KNOWN), create_metric=create_metric)
    monkeypatch.setitem(__import__("sys").modules, "pyiqa", fake)


@pytest.fixture
def folders(tmp_path):
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    for n in range(3):
        write_image(tmp_path / "ours" / f"{n}.png", ImageFile(sample_image(n)))
        write_image(tmp_path / "theirs" / f"{n}.tif", ImageFile(sample_image(n + 1)))
    write_image(tmp_path / "ours" / "lonely.png", ImageFile(sample_image(0)))
    return tmp_path / "ours", tmp_path / "theirs"


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, ["eval", *map(str, words)])
    assert outcome.exit_code == code, outcome.output
    return outcome


def test_the_mean_is_that_of_the_pairs_and_who_has_no_partner_is_said(folders):
    table = score_folders(*folders, {"first": lambda a, _: float(a[0, 0, 0])})
    assert list(table.images) == ["0.png", "1.png", "2.png"] and table.unpaired == [str(folders[0] / "lonely.png")]
    for name, value in table.means.items():
        assert value == pytest.approx(np.mean([row[name] for row in table.images.values()]))
    assert table.means["first"] == np.mean([sample_image(n)[0, 0, 0] for n in range(3)])
    (folders[0] / "empty").mkdir()
    with pytest.raises(ImageError, match="no file name in common"):
        score_folders(folders[0] / "empty", folders[1], {})


def test_the_papers_table_says_what_is_missing_and_keeps_its_order(folders, pyiqa, tmp_path, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "nothing"))
    outcome = run(*folders, "--paper", "--json", "--csv", tmp_path / "table.csv")
    result = json.loads(outcome.stdout)  # nothing that pyiqa prints gets in
    assert list(result["mean"]) == [name for name in PAPER if name in ("psnr_y", "ssim_y", "dists", "fid", "niqe")]
    assert result["mean"]["fid"] == 7.5 and result["mean"]["niqe"] > 0
    apart = 100 * (sample_image(0).mean() - sample_image(1).mean()) / 255
    assert result["images"]["0.png"]["dists"] == pytest.approx(apart, abs=1e-3)
    assert result["missing"].keys() == {"lpips", "musiq", "maniqa-pipal", "clipiqa"}
    assert "Name or service not known);" in result["missing"]["musiq"] and "setuptools" in result["missing"]["clipiqa"]
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png", "mean"]
    assert float(rows[1]["psnr_y"]) == result["images"]["1.png"]["psnr_y"] and rows[1]["fid"] == ""
    assert float(rows[3]["fid"]) == 7.5
    assert "1 images have no partner" in outcome.stderr


def test_what_is_asked_for_by_name_must_be_there(folders, pyiqa, tmp_path):  # noqa: ARG001
    assert "has no weights here" in run(*folders, "--also", "musiq", code=1).output
    assert "two folders" in run(folders[0] / "0.png", folders[0] / "0.png", "--also", "fid", code=1).output
    (tmp_path / "table.csv").touch()
    assert "--overwrite" in run(*folders, "--csv", tmp_path / "table.csv", code=1).output
    assert "no such folder" in run(*folders, "--csv", tmp_path / "no" / "table.csv", code=1).output


def test_parameters_of_niqe_come_as_mat_or_npz(tmp_path):
    from scipy.io import loadmat

    mean, covariance = np.arange(36.0)[None], np.eye(36)
    np.savez(tmp_path / "niqe.npz", mu_pris_param=mean, cov_pris_param=covariance)
    with parameters_as_mat(tmp_path / "niqe.npz") as file:
        values = loadmat(file)
    assert np.array_equal(values["mu_prisparam"], mean) and np.array_equal(values["cov_prisparam"], covariance)
    np.savez(tmp_path / "other.npz", a=mean)
    for name in ("other.npz", "none.npz", "none.mat"):
        with pytest.raises(CheckpointError, match=name), parameters_as_mat(tmp_path / name):
            pass


def test_lpips_without_weights_is_missing_and_not_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    scorers, missing = find_scorers(())
    assert scorers == {} and missing.keys() == {"lpips"}
    with pytest.raises(CheckpointError):
        find_scorers((), lpips=tmp_path / "none.pth")
