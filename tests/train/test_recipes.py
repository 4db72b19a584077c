"""Recipes are checked before anything runs, and the shipped ones are sound."""

import dataclasses
from pathlib import Path

import pytest

from tests.support.train_recipes import tiny
from train.config import LoopConfig, Recipe, RecipeError
from train.recipe import build, load_recipe
from train.schedule import alpha_bar, alpha_bars, learning_rate_share

SHIPPED = sorted((Path(__file__).parent.parent.parent / "train/recipes").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_sound_and_survive_a_checkpoint(path):
    recipe = load_recipe(path)
    assert build(Recipe, dataclasses.asdict(recipe), "checkpoint") == recipe


def test_the_full_recipe_is_the_papers():
    recipe = load_recipe(SHIPPED[0].parent / "sd21.toml")
    assert recipe.loop.learning_rate == recipe.vsd.critic_learning_rate == 5e-5 and recipe.loop.weight_decay == 1e-2
    assert (recipe.loss.pixel, recipe.loss.pixel_weight, recipe.loss.lpips, recipe.vsd.weight) == ("mse", 1, 2, 1)
    assert (recipe.vsd.guidance, recipe.vsd.low, recipe.vsd.high, recipe.vsd.critic) == (7.5, 20, 980, "all")
    assert recipe.data.crop_px == 512 and recipe.data.mixture == {"heavy": 1.0} and recipe.loop.batch == 4


def test_the_one_gpu_recipe_sees_as_many_images_a_step():
    four, one = (load_recipe(SHIPPED[0].parent / name) for name in ("sd21.toml", "sd21-one-gpu.toml"))
    assert one.loop.batch * one.loop.accumulate == 4 * four.loop.batch * four.loop.accumulate
    assert one.sd21.gradient_checkpointing and one.vsd.shared


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop.stepz=3", "did you mean 'steps'"),
        ("lop.steps=3", "did you mean 'loop'"),
        ("loop.steps=many", "steps must be int, got 'many'"),
        ("loop.steps=0", "at least 1"),
        ("loop.ema=1.5", r"ema must be in \[0, 1\), got 1.5"),
        ("loop.clip_norm=0", "clip_norm must be above 0"),
        ("loop.seed=-1", "seed must not be negative"),
        ("data={holdout = 0}", "kept out: set data.holdout"),
        ("loop.steps", "SECTION.KEY=VALUE"),
        ("name.steps=1", "name must be str"),
        ("loop.steps.most=1", "--set loop.steps.most=1: steps is a value"),
        ("data.mixture={light = 0.5}", "sum to 1"),
        ("lite.widths=[1.5]", "widths must be int"),
        ("loop.precision=fp16", "'float32', 'bf16'"),
        ("vsd.low=990", "low < high"),
        ("vsd.weight=1", "start.prior"),
        ("model=sd21", r"\[start\]|\[lite\]|lite"),
        ("sd21.base=x", "does nothing"),
        ("loss.warp=1", "data.frames is 1"),
        ("stage=prior", r"\[loss\] and \[vsd\] do nothing"),
        ("stage=encoder", "'autoencoder', 'prior'"),
    ],
)
def test_a_wrong_recipe_says_what_is_wrong(tmp_path, override, message):
    tiny(tmp_path, tmp_path)
    more = ("loop.sample_every=1",) if "holdout" in override else ()
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "tiny.toml", (override, *more))


def test_overrides_are_toml_and_bare_words_are_strings(tmp_path):
    with pytest.raises(RecipeError, match="40 px"):
        tiny(tmp_path, tmp_path, "loss.lpips=1", "data.crop_px=24")
    recipe = tiny(tmp_path, tmp_path, "loop.steps=7", "name=small", "data.mixture={heavy = 1}", "lite.widths=[16]")
    assert (recipe.loop.steps, recipe.name, recipe.data.mixture, recipe.lite.widths) == (
        7,
        "small",
        {"heavy": 1.0},
        (16,),
    )


def test_learning_rate_rises_then_falls_or_stays():
    config = LoopConfig(steps=20, warmup_steps=2, schedule="cosine")
    rates = [learning_rate_share(step, config) for step in range(21)]
    assert rates[0] < rates[1] <= 1 and rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0.01)
    assert {learning_rate_share(step, LoopConfig()) for step in (0, 10, 10**6)} == {1.0}


def test_the_noise_schedule_is_that_of_stable_diffusion():
    assert float(alpha_bars()[999]) == pytest.approx(0.004660095, rel=1e-6)
    assert alpha_bar(280) == pytest.approx(float(alpha_bars()[280]), rel=1e-5) and len(alpha_bars()) == 1000
