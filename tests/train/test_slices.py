"""Training in slices: what is carried fits, goes on where it was, and learns from nothing that is kept out."""

import json
import subprocess
import sys
import tarfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_core.errors import CheckpointError
from tests.support.train_recipes import ENVIRONMENT, ROOT, write_chain, write_images
from tests.support.training_runs import largest_difference, quiet, same
from train.config import DataConfig, RecipeError
from train.data.files import find_sources
from train.export import export_run
from train.light_checkpoint import read_thin, save_thin
from train.loop import run
from train.recipe import load_recipe
from train.runs import plan_runs, train_runs
from train.slices import main, open_tar
from train.stage import block_latent
from train.state import read_run, save_checkpoint

STARTS = (("generator", "first"), ("prior", "prior"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), count=7)


@pytest.fixture(scope="module")
def files(images, tmp_path_factory):
    return write_chain(tmp_path_factory.mktemp("recipes"), images)


@pytest.fixture(scope="module")
def half_way(files, tmp_path_factory):
    """Run folders of two finished stages and a third at step 1 of 2."""
    folder = tmp_path_factory.mktemp("half_way")
    runs = plan_runs(files, (), folder)
    for _ in train_runs(runs[:2], quiet):
        pass
    assert run(runs[2].recipe, runs[2].folder, quiet, deadline=0) == 1
    return folder


@pytest.fixture
def slices(files, tmp_path, capsys):
    """The program as it is typed, with run folders, recipes and archives in `tmp_path`. Returns what it tells last."""

    def called(work, file, *words):
        words = [work, str(tmp_path / file), *map(str, words)]
        words += ["--recipes", *map(str, files)] if work == "pack" else []
        words += ["--runs", str(tmp_path / "runs")] if work != "run" else []
        main(words)
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return called


def images_in(archive, folder):
    """Those that the recipe trains on and those it keeps out, where the archive is laid out; names."""
    open_tar(archive, folder)
    actual = find_sources(DataConfig(folder=str(folder / "images"), holdout=1))
    return tuple({path.name for path in sources.images} for sources in actual)


@pytest.mark.slow
def test_slices_train_from_nothing_to_a_bundle(files, slices, tmp_path):
    """A step at a time; every slice within the limit."""
    steps = []
    for number in range(4):
        messages = slices("pack", "slice.tar", "--limit-mb", "2.32")
        assert (tmp_path / "slice.tar").stat().st_size <= 2.32e6 and 1 <= messages["images"] <= messages["of"] == 6
        trained, kept_out = images_in(tmp_path / "slice.tar", tmp_path / f"slice{number}")
        assert (len(trained), kept_out) == (messages["images"], {"6.png"})
        words = [str(tmp_path / "slice.tar"), "--minutes", "1e-9", "--out", str(tmp_path / "result.tar")]
        words += ["--set", "loop.validate_every=1"]
        slices("run", *words)
        with tarfile.open(tmp_path / "result.tar") as tar:
            assert not [name for name in tar.getnames() if name.startswith("images")]
        steps.append(list(slices("unpack", "result.tar")["steps"].values()))
    assert steps == [[1, 0, 0], [2, 1, 0], [2, 2, 1], [2, 2, 2]]
    with pytest.raises(SystemExit, match="every recipe is finished"):
        slices("pack", "slice.tar")
    lines = [json.loads(line) for line in (tmp_path / "runs/prior/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2] and ["held_out/noise_t50" in line for line in lines] == [
        1,
        0,
        1,
    ]
    whole = block_latent(load_recipe(files[1])).weight
    carried = load_file(tmp_path / "slice3/latent.safetensors")["weight"]
    assert torch.equal(carried, whole)
    latent = read_run(tmp_path / "runs/prior")["modules"]["prior"]["latent.weight"]
    assert torch.allclose(latent, whole, rtol=2**-11, atol=1e-6)
    runs = plan_runs(files, (), tmp_path / "runs")
    assert [step for _, step in train_runs(runs, quiet)] == [2, 2, 2]
    assert export_run(runs[2].folder, runs[2].recipe, tmp_path / "model").is_dir()


@pytest.mark.slow
def test_a_slice_is_trained_in_a_process_of_its_own(slices, tmp_path):
    slices("pack", "slice.tar")
    words = [str(tmp_path / "slice.tar"), "--minutes", "1e-9", "--out", str(tmp_path / "result.tar")]
    program = [sys.executable, "-m", "train.slices", "run"]
    subprocess.run([*program, *words], cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    assert slices("unpack", "result.tar")["steps"] == {"first": 1, "prior": 0, "last": 0}


def test_the_latent_of_the_whole_comes_from_a_file(files, tmp_path):
    state = {"weight": torch.rand(8, 192, 1, 1), "bias": torch.rand(8)}
    save_file(state, tmp_path / "latent.safetensors")
    settings = (f"data.latent={(tmp_path / 'latent.safetensors').as_posix()!r}", "data.folder=nowhere")
    assert same(dict(block_latent(load_recipe(files[1], settings)).state_dict()), state)
    with pytest.raises(RecipeError, match=r"bias is \(8,\), the recipe expects \(4,\)"):
        block_latent(load_recipe(files[1], (*settings, "lite.latent_channels=4")))
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        block_latent(load_recipe(files[1], ("data.latent=none.safetensors",)))


def test_shards_go_round_all_images_and_never_hold_what_is_kept_out(slices, tmp_path):
    everything = slices("pack", "slice.tar")
    assert (everything["images"], everything["kept_out"]) == (6, 1)
    with tarfile.open(tmp_path / "slice.tar") as tar:
        largest = max(member.size for member in tar if member.name.startswith("images"))
    limit = everything["mb"] - 3 * largest / 1e6
    seen = []
    for number in range(3):
        assert slices("pack", "slice.tar", "--limit-mb", limit)["images"] >= 2
        trained, kept_out = images_in(tmp_path / "slice.tar", tmp_path / f"slice{number}")
        assert kept_out == {"6.png"} and not trained & kept_out
        seen.append(trained)
        (tmp_path / "runs").mkdir(exist_ok=True)
        slices("unpack", "slice.tar")
    assert seen[0] != seen[1] and set().union(*seen) == {f"{number}.png" for number in range(6)}


def test_what_no_slice_can_carry_is_refused(files, half_way, slices, tmp_path):
    with pytest.raises(SystemExit, match=r"--limit-mb 0.05 cannot hold a single image: .* MB more; raise it"):
        slices("pack", "slice.tar", "--limit-mb", "0.05")
    with pytest.raises(SystemExit, match=r"prior: a slice carries lite models.*one data.folder"):
        main(["pack", str(tmp_path / "x.tar"), "--recipes", str(files[1]), "--set", "data.lists=['a.txt']"])
    with pytest.raises(SystemExit, match=r"last: starts from runs/(first|prior); name its recipe too"):
        main(["pack", str(tmp_path / "x.tar"), "--recipes", str(files[2]), "--runs", str(half_way)])
    (tmp_path / "foreign.tar").write_bytes(b"no archive")
    with pytest.raises(SystemExit, match="neither a slice nor the result of one"):
        slices("unpack", "foreign.tar")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("name", "kind"), [("../out.txt", tarfile.REGTYPE), ("a.txt", tarfile.SYMTYPE)])
def test_an_archive_writes_files_below_its_folder_alone(tmp_path, name, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(entry)
    with pytest.raises(RecipeError, match=r"bad\.tar: neither a slice.*is no file that belongs below this folder"):
        open_tar(tmp_path / "bad.tar", tmp_path / "here")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tar"]


def test_what_is_older_than_what_is_here_changes_nothing(half_way, slices, tmp_path):
    (tmp_path / "runs").symlink_to(half_way)
    slices("pack", "slice.tar")
    before = {path: path.stat().st_mtime_ns for path in half_way.rglob("*.pt")}
    assert slices("unpack", "slice.tar")["steps"] == {"first": 2, "prior": 2, "last": 1}
    assert before == {path: path.stat().st_mtime_ns for path in half_way.rglob("*.pt")}


def test_a_thin_checkpoint_keeps_weights_exactly_and_the_rest_nearly(files, half_way, tmp_path):
    full = read_run(half_way / "last")
    save_thin(full, tmp_path / "thin.pt", finished=False)
    again = read_thin(tmp_path / "thin.pt")
    assert again.keys() == full.keys() and same(again["modules"], full["modules"])
    assert same(again["recipe"], full["recipe"]) and again["step"] == 1
    for name, average in full["average"].items():
        level = float((average - full["modules"]["generator"][name]).abs().max()) / 127
        assert float((again["average"][name] - average).abs().max()) <= level / 2 + 1e-7
    assert set(full["optimizers"]) == set(again["optimizers"]) == {"generator", "critic"}
    for turn, optimizer in full["optimizers"].items():
        assert again["optimizers"][turn]["param_groups"] == optimizer["param_groups"]
        for name, moments in optimizer["state"].items():
            remaining = again["optimizers"][turn]["state"][name]
            assert torch.allclose(remaining["exp_avg_sq"], moments["exp_avg_sq"], rtol=2**-8, atol=0)
            assert remaining["step"] == moments["step"] and not remaining["exp_avg"].any()
            assert remaining["exp_avg"].shape == moments["exp_avg"].shape
    assert (tmp_path / "thin.pt").stat().st_size < 0.6 * next((half_way / "last").glob("*.pt")).stat().st_size

    save_checkpoint(again, tmp_path / "last", keep=1)
    recipe = load_recipe(files[2], tuple(f"start.{key}={(half_way / name).as_posix()!r}" for key, name in STARTS))
    with pytest.raises(RecipeError, match=r"start.generator was 'runs/first'"):
        run(recipe, tmp_path / "last", quiet)
    for name in ("first", "prior"):
        (tmp_path / name).symlink_to(half_way / name)
    assert run(load_recipe(files[2]), tmp_path / "last", quiet) == 2
    moved = largest_difference(read_run(tmp_path / "last")["modules"], full["modules"])
    assert 0 < moved < 0.01


def test_of_a_finished_run_the_averaged_weights_are_carried_alone(files, half_way, tmp_path):
    full = read_run(half_way / "first")
    save_thin(full, tmp_path / "thin.pt", finished=True)
    again = read_thin(tmp_path / "thin.pt")
    assert again["modules"]["generator"].keys() == full["modules"]["generator"].keys()
    for name, average in full["average"].items():
        assert torch.equal(again["modules"]["generator"][name], average.half().float())
    save_checkpoint(again, tmp_path / "first", keep=1)
    assert run(load_recipe(files[0]), tmp_path / "first", quiet) == 2
    with pytest.raises(RecipeError, match=r"without what more steps need; name it in \[start\] of a new one"):
        run(load_recipe(files[0], ("loop.steps=3",)), tmp_path / "first", quiet)
    with pytest.raises(RecipeError, match="not a checkpoint of this trainer"):
        read_run(tmp_path / "thin.pt")
