"""The trainer: recipes are checked, a run resumes exactly, and what it exports runs."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from image_core.bundle import load_generator, load_prompt, verify_bundle
from train.config import DataConfig, RecipeError, load_recipe
from train.data import open_samples
from train.export import export_lite
from train.lite import BlockLatent, block_basis, build_generator, start_from_blocks
from train.loop import run, schedule

ROOT = Path(__file__).parent.parent
TINY = """
    [model]
    widths = [16, 32]
    latent_channels = 8
    encoder_width = 8
    encoder_blocks = 1
    decoder_width = 8
    decoder_blocks = 1
    prompt_width = 8
    [data]
    folder = "{folder}"
    holdout = 1
    crop_px = 32
    workers = 0
    [loop]
    steps = 12
    batch = 2
    warmup_steps = 2
    checkpoint_every = 4
    log_every = 4
    bf16 = false
"""


class StopHereError(Exception):
    """Stands for an interruption."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(4):
        blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def recipe_file(tmp_path, pictures):
    path = tmp_path / "tiny.toml"
    path.write_text(textwrap.dedent(TINY).format(folder=pictures.as_posix()))
    return path


def weights(state):
    return torch.cat([p.detach().flatten() for p in state.average.parameters()])


def test_recipe_overrides_and_shipped_recipe(recipe_file):
    assert load_recipe(recipe_file, ("loop.steps=3", "model.name=small")).loop.steps == 3
    assert load_recipe(ROOT / "train/recipes/lite.toml").model.timestep == 280


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop.stepz=3", "did you mean 'steps'"),
        ("lop.steps=3", "did you mean 'loop'"),
        ("loop.steps=many", "loop.*steps must be"),
        ("loop.bf16=1", "bf16 must be"),
        ("data.mixture={light = 0.5}", "sum to 1"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(recipe_file, override, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe_file, (override,))


def test_no_pictures_and_small_pictures_are_refused(recipe_file, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecipeError, match="no pictures here"):
        open_samples(DataConfig(folder=str(tmp_path / "empty")), seed=0, length=1)
    recipe = load_recipe(recipe_file, ("data.crop_px=128",))
    with pytest.raises(RecipeError, match="64 x 64 is smaller"):
        run(recipe, tmp_path / "run", report=lambda _: None)


def test_block_latent_is_white_and_the_untrained_generator_passes_it_through(recipe_file):
    picture = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target = BlockLatent(*block_basis([picture], 8))
    latent = target(picture[None])[0].flatten(1)
    assert torch.allclose(latent @ latent.T / latent.shape[1], torch.eye(8), atol=1e-3)
    generator = build_generator(load_recipe(recipe_file).model)
    start_from_blocks(generator, target)
    with torch.no_grad():
        clean = generator.denoise(generator.encode(picture[None]), torch.zeros(1, 1, 8))
    assert torch.allclose(clean[0].flatten(1), latent, atol=1e-4)


def test_learning_rate_rises_then_falls(recipe_file):
    config = load_recipe(recipe_file).loop
    rates = [schedule(step, config) for step in range(config.steps + 1)]
    assert rates[0] < rates[1] <= 1 and rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)


def test_an_interrupted_run_ends_in_the_same_bits(recipe_file, tmp_path):
    whole = run(load_recipe(recipe_file), tmp_path / "whole", report=lambda _: None)

    def stop_after_eight(values):
        if values["step"] == 8:
            raise StopHereError

    with pytest.raises(StopHereError):
        run(load_recipe(recipe_file), tmp_path / "cut", report=stop_after_eight)
    resumed = run(load_recipe(recipe_file), tmp_path / "cut", report=lambda _: None)
    assert resumed.step == whole.step == 12
    assert torch.equal(weights(whole), weights(resumed))


def test_a_killed_run_resumes_in_a_second_process(recipe_file, tmp_path):
    out, steps = tmp_path / "killed", ("--set", "loop.steps=4000", "--set", "loop.checkpoint_every=1")
    command = [sys.executable, "-m", "cli", "train", str(recipe_file), "--out", str(out), *steps]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not (out / "latest.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    saved = torch.load(out / "latest.pt", weights_only=True)["step"]
    recipe = load_recipe(recipe_file, ("loop.steps=4000", "loop.checkpoint_every=1"))

    def stop(values):
        assert values["step"] > saved
        raise StopHereError

    with pytest.raises(StopHereError):
        run(recipe, out, report=stop)


def test_a_checkpoint_of_another_recipe_is_refused(recipe_file, tmp_path):
    run(load_recipe(recipe_file, ("loop.steps=4",)), tmp_path / "run", report=lambda _: None)
    with pytest.raises(RecipeError, match="another recipe"):
        run(load_recipe(recipe_file, ("loop.seed=9",)), tmp_path / "run", report=lambda _: None)


def test_the_exported_bundle_runs_like_the_trained_model(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    state = run(recipe, tmp_path / "run", report=lambda _: None)
    bundle = export_lite(state, recipe, tmp_path / "bundle", commit="abc")
    verify_bundle(bundle)
    assert bundle.config.card["samples_seen"] == 24 and bundle.config.card["commit"] == "abc"
    generator, text = load_generator(bundle), load_prompt(bundle, None, "cpu", torch.float32)
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, result = state.average.float()(image, text), generator(image, text)
    assert torch.allclose(expected, result, atol=5e-3)  # the bundle holds float16: 3 digits of values up to 1
