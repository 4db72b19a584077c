"""The trainer: a run resumes exactly, and what it exports runs."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from image_core.errors import OutputError
from tests.support.train_recipes import ALL_TURNS, ENVIRONMENT, ROOT, tiny, write_images
from tests.support.training_runs import largest_difference, learnt, quiet, same
from train.config import LoopConfig, RecipeError
from train.loop import DivergedError, run
from train.state import TrainState, find_checkpoint, read_run, save_checkpoint

RUN = """
import sys
from pathlib import Path
from train.loop import run
from train.recipe import load_recipe
run(load_recipe(Path(sys.argv[1]), tuple(sys.argv[3:])), Path(sys.argv[2]), print)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def prior(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    run(tiny(folder, images, "stage=prior", "loop.steps=2"), folder / "run", quiet)
    return folder / "run"


@pytest.fixture
def full(tmp_path, images, prior):
    """A recipe with every turn: generator, critic, discriminator."""
    return lambda *more: tiny(tmp_path, images, f"start.prior={prior.as_posix()!r}", *ALL_TURNS, *more)


@pytest.mark.slow  # a run that is stopped at a step, in this process, is in test_wiring
def test_a_killed_run_ends_in_the_same_bits(full, tmp_path):
    """kill -9 while it trains, then the same recipe again: weights, all optimisers, average."""
    recipe = full("loop.steps=4", "loop.checkpoint_every=1", "loop.keep=9")
    path, overrides = str(tmp_path / "tiny.toml"), [f"data.folder={recipe.data.folder!r}"]
    overrides += [f"start.prior={recipe.start.prior!r}", *ALL_TURNS, "loop.steps=6000", "loop.checkpoint_every=1"]
    command = [sys.executable, "-c", RUN, path, str(tmp_path / "cut"), *overrides, "loop.keep=9"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / "cut").glob("step-00000002.pt")) and child.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    for late in sorted((tmp_path / "cut").glob("step-*.pt"))[2:]:
        late.unlink()  # however far the child came, the run goes on from step 2
    run(recipe, tmp_path / "cut", quiet)
    run(recipe, tmp_path / "whole", quiet)
    assert same(learnt(tmp_path / "cut"), learnt(tmp_path / "whole"))
    assert set(learnt(tmp_path / "cut")["optimizers"]) == {"generator", "critic", "discriminator"}


def test_two_passes_accumulated_are_one_of_twice_the_size(tmp_path, images):
    steps = ("loop.steps=2", "loop.learning_rate=1e-4")
    for name, more in (("one", ("loop.batch=4",)), ("two", ("loop.batch=2", "loop.accumulate=2"))):
        run(tiny(tmp_path, images, *steps, *more), tmp_path / name, quiet)
    one, two = read_run(tmp_path / "one"), read_run(tmp_path / "two")
    assert largest_difference(one["modules"], two["modules"]) < 1e-6


def test_a_run_may_go_on_with_other_passes_but_not_with_another_recipe(tmp_path, images):
    out = tmp_path / "run"
    run(tiny(tmp_path, images, "loop.steps=2", "loop.batch=4"), out, quiet)
    with pytest.raises(RecipeError, match=r"loss.latent was 0.0, is 0.5.*another --output"):
        run(tiny(tmp_path, images, "loss.latent=0.5", "loop.batch=4"), out, quiet)
    with pytest.raises(RecipeError, match="batch x accumulate x processes was 4, is 2"):
        run(tiny(tmp_path, images), out, quiet)
    assert run(tiny(tmp_path, images, "loop.accumulate=2", "loop.steps=3"), out, quiet) == 3


def test_the_last_checkpoints_are_kept_and_a_foreign_file_is_refused(tmp_path, images):
    run(tiny(tmp_path, images, "loop.steps=5", "loop.checkpoint_every=1"), tmp_path / "run", quiet)
    assert [path.name for path in sorted((tmp_path / "run").glob("*.pt"))] == ["step-00000004.pt", "step-00000005.pt"]
    find_checkpoint(tmp_path / "run").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RecipeError, match=r"step-00000005\.pt: not a readable checkpoint"):
        run(tiny(tmp_path, images), tmp_path / "run", quiet)
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(RecipeError, match="not a checkpoint of this trainer"):
        read_run(tmp_path / "other.pt")
    with pytest.raises(RecipeError, match="no checkpoint here"):
        read_run(tmp_path)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path):
    """A file-size limit stands for the full disk: the same failed write, in any environment."""
    content = {"step": 1, "weights": torch.zeros(100)}
    save_checkpoint(content, tmp_path, keep=2)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written.*step-00000001.pt is untouched.*free some space"):
            save_checkpoint({"step": 2, "weights": torch.zeros(100_000)}, tmp_path, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert torch.load(tmp_path / "step-00000001.pt", weights_only=True)["step"] == 1


def test_a_loss_that_is_not_finite_stops_the_run_with_the_batch_saved(tmp_path, images):
    recipe = tiny(tmp_path, images, "loop.learning_rate=1e30", "loop.checkpoint_every=1", "loop.steps=9")
    with pytest.raises(DivergedError, match=r"generator is not finite.*the batch is in"):
        run(recipe, tmp_path / "run", quiet)
    (remaining,) = (tmp_path / "run").glob("diverged-step-*.pt")
    batch = torch.load(remaining, weights_only=True)
    assert batch["low"].shape == batch["high"].shape == (2, 3, 64, 64) and batch["captions"] == ["", ""]
    content = read_run(tmp_path / "run")
    assert all(torch.isfinite(t).all() for t in content["modules"]["generator"].values())


def test_the_average_follows_the_weights_and_steps_in_for_them():
    module = torch.nn.Linear(2, 2)
    state = TrainState({"generator": module}, {"generator": 1e-3}, LoopConfig(ema=0.9), items_per_step=1)
    state.begin_average()
    start = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1)
    state.step = 1000
    state.update_average()
    assert torch.allclose(state.average["weight"], start + 0.1)
    with state.averaged():
        assert torch.allclose(module.weight, start + 0.1)
    assert torch.equal(module.weight, start + 1)


def test_progress_is_written_down(tmp_path, images):
    messages = []
    recipe = tiny(tmp_path, images, "loop.sample_every=2", "loop.validate_every=4", "data.holdout=2")
    run(recipe, tmp_path / "run", messages.append)
    assert [values["step"] for values in messages] == [2, 4, 4]
    assert {"generator/pixel", "generator/gradient", "images_per_s", "eta_s"} <= messages[0].keys()
    assert messages[1]["eta_s"] == 0 and messages[1]["images_per_s"] > 0
    assert 5 < messages[2]["held_out/psnr"] < 60 and 0 < messages[2]["held_out/ssim"] <= 1
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 3
    (board,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"low, result, high/1" in board.read_bytes()
