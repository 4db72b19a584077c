"""Every field of a recipe does something: the tables are held against the dataclasses, so that a new field needs a row.

A field that decides what is learnt is tried in a run of two steps on a tiny model: with it, the run learns something
else. What a field means is tested where it is used; the right column names that place for fields that decide no weight.
"""

import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.support.media_files import write_video
from tests.support.train_recipes import tiny, tiny_sd21, write_images
from tests.support.training_runs import learnt, quiet, same
from train.config import DataConfig, LiteShape, PoolConfig, Recipe
from train.data.material import open_material
from train.data.pool import make_pool, pool_folder
from train.loop import run
from train.networks.lite import build_generator

VSD = ("start.prior={prior}", "vsd.weight=0.5")
ADVERSARY = ("loss.adversarial=0.2",)

LEARNT = {
    # field: (overrides on both sides, the override that is tried)
    "data.drawn": ((), "data.drawn=1.0"),
    "data.turns": ((), "data.turns=true"),
    "data.tones": ((), "data.tones=true"),
    "data.mixture": ((), "data.mixture={heavy=1.0}"),
    "data.holdout": ((), "data.holdout=3"),
    "data.crop_px": ((), "data.crop_px=48"),
    "data.frames": ((), "data.frames=2"),
    "data.codec": (("data.frames=2",), "data.codec=0.0"),
    "data.folder": ((), "data.folder={other}"),
    "data.lists": ((), "data.lists=['{list}']"),
    "data.clips": ((), "data.clips={clips}"),
    "data.clip_share": (("data.clips={clips}",), "data.clip_share=0.0"),
    "loss.pixel": ((), "loss.pixel=mse"),
    "loss.pixel_weight": (("loss.latent=0.5",), "loss.pixel_weight=0.1"),
    "loss.latent": ((), "loss.latent=0.5"),
    "loss.adversarial": ((), "loss.adversarial=0.5"),
    "loss.feature_matching": (ADVERSARY, "loss.feature_matching=0.5"),
    "loss.discriminator": (ADVERSARY, "loss.discriminator=grey"),
    "loss.spared": (ADVERSARY, "loss.spared=5.0"),
    "loss.honest": ((*ADVERSARY, "loss.spared=5.0"), "loss.honest=5.0"),
    "loss.warp": (("data.frames=2",), "loss.warp=0.5"),
    "loss.grid": ((), "loss.grid=0.5"),
    "loss.beads": ((), "loss.beads=0.5"),
    "loss.pattern": ((), "loss.pattern=5.0"),
    "loss.stipple": ((), "loss.stipple=5.0"),
    "loss.contours": ((), "loss.contours=5.0"),
    "loss.balance": (("loss.latent=0.5", *VSD), "loss.balance=true"),
    "vsd.weight": (("start.prior={prior}",), "vsd.weight=0.5"),
    "vsd.guidance": (VSD, "vsd.guidance=1.0"),
    "vsd.low": (VSD, "vsd.low=900"),
    "vsd.high": (VSD, "vsd.high=60"),
    "vsd.critic": (VSD, "vsd.critic=mid"),
    "vsd.critic_learning_rate": (VSD, "vsd.critic_learning_rate=1e-2"),
    "vsd.from_step": (VSD, "vsd.from_step=1"),
    "loop.steps": ((), "loop.steps=3"),
    "loop.batch": ((), "loop.batch=1"),
    "loop.accumulate": ((), "loop.accumulate=2"),
    "loop.learning_rate": ((), "loop.learning_rate=1e-4"),
    "loop.schedule": ((), "loop.schedule=cosine"),
    "loop.warmup_steps": ((), "loop.warmup_steps=2"),
    "loop.weight_decay": ((), "loop.weight_decay=0.5"),
    "loop.clip_norm": ((), "loop.clip_norm=1e-6"),
    "loop.ema": ((), "loop.ema=0.9"),
    "loop.precision": ((), "loop.precision=bf16"),
    "loop.seed": ((), "loop.seed=1"),
}  # fmt: skip

ELSEWHERE = {
    "name": "test_runs_find_what_they_start_from_beside_themselves",
    "model": "test_the_full_model_becomes_a_bundle_and_the_published_layout",
    "stage": "test_each_lite_stage_starts_where_the_last_ended",
    "start.generator": "test_each_lite_stage_starts_where_the_last_ended",
    "start.prior": "test_each_lite_stage_starts_where_the_last_ended",
    "sd21.draw_latent": "test_draws_from_the_posterior_are_learnt_from_unless_switched_off",
    "sd21.base": "test_a_base_that_predicts_v_is_refused_by_name",
    "sd21.gradient_checkpointing": "test_checkpointing_changes_no_gradient",
    "vsd.negative_prompt": "test_guidance_leads_away_from_the_negative_prompt",
    "vsd.shared": "test_one_unet_with_adapters_switched_equals_two",
    "loss.lpips": "test_a_recipe_learns_from_it",
    "loss.lpips_network": "test_a_recipe_learns_from_it",
    "loss.lpips_px": "test_it_sees_as_large_a_part_as_asked",
    "loss.lpips_backbone": "test_missing_perceptual_weights_are_told_before_training",
    "data.licence": "test_the_lite_bundle_runs_like_the_trained_model",
    "data.latent": "test_the_latent_of_the_whole_comes_from_a_file",
    "data.most_bad": "test_bad_images_are_named_and_the_next_is_drawn_from_the_same_dice",
    "data.workers": "test_items_do_not_depend_on_workers_or_on_where_a_run_starts",
    "data.cache_mb": "test_the_cache_is_bounded_forgets_the_oldest_and_stays_at_home",
    "loop.device": "test_two_processes_with_batch_2_are_one_with_batch_4",
    "data.pool.folder": "test_a_pool_is_the_same_on_every_run_and_an_interrupted_one_is_completed",
    "data.pool.shards": "test_more_shards_take_part_as_a_run_goes_on",
    "data.pool.growth": "test_more_shards_take_part_as_a_run_goes_on",
}  # fmt: skip
"""Fields that decide no weight, or need more than a run of the smallest lite model: the test that would notice."""

WRITTEN = {"checkpoint_every", "keep", "log_every", "sample_every", "validate_every"}
POOL = {
    "mixture": {"mixture": {"heavy": 1.0}},
    "crops": {"crops": 1},
    "overlays": {"overlays": 1},
    "pages": {"pages": 1},
    "recoloured": {"recoloured": 1.0},
    "squeezed": {"squeezed": 1.0},
    "half": {"half": 1.0},
    "seed": {"seed": 1},
}
SHARES = {
    # field: what is there on both sides
    "overlay_share": {"overlays": 1},
    "page_share": {"pages": 1},
    "stored": {"pages": 1, "page_share": 1.0},
    "lattices": {"pages": 3, "page_share": 1.0},
    "combed": {},
    "untouched": {},
}


def leaves(kind, prefix=""):
    """Return the dotted name of every field of a dataclass and of those in it."""
    return {
        name
        for field in dataclasses.fields(kind)
        for name in (
            leaves(field.default.__class__, f"{prefix}{field.name}.")
            if dataclasses.is_dataclass(field.default)
            else {prefix + field.name}
        )
    }


def test_every_field_has_a_row():
    rows = set(LEARNT) | set(ELSEWHERE) | leaves(LiteShape, "lite.") | {f"loop.{name}" for name in WRITTEN}
    rows |= {f"data.pool.{name}" for name in (*POOL, *SHARES)}
    assert leaves(Recipe) == rows


def test_the_tests_that_rows_name_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in ELSEWHERE.values() if f"def {name}(" not in text] == []


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What overrides name: other images, a list, clips and a prior."""
    folder = tmp_path_factory.mktemp("fields")
    images = write_images(folder / "images")
    other = write_images(folder / "other", size=128)
    (folder / "list.txt").write_text(str(other / "0.png"))
    (folder / "clips").mkdir()
    write_video(folder / "clips" / "a.mkv", [40 * n for n in range(6)], size=(96, 96), time_base=Fraction(1, 1000))
    run(tiny(folder, images, "stage=prior", "loop.steps=1"), folder / "prior", quiet)
    names = {"other": other, "list": folder / "list.txt", "clips": folder / "clips", "prior": folder / "prior"}
    return folder, images, {name: path.as_posix() for name, path in names.items()}


@pytest.fixture(scope="module")
def learn(places):
    """Return what a run of two steps learns, each once."""
    folder, images, names = places
    known = {}

    def learn(*overrides):
        if overrides not in known:
            words = [word if "={" in word and "=1.0}" in word else word.format(**names) for word in overrides]
            target = folder / f"run{len(known)}"
            run(tiny(folder, images, "loop.steps=2", *words), target, quiet)
            known[overrides] = learnt(target)
            shutil.rmtree(target)
        return known[overrides]

    return learn


@pytest.mark.parametrize("field", LEARNT)
def test_the_field_decides_what_is_learnt(field, learn):
    both, tried = LEARNT[field]
    assert tried.startswith(field + "=") and not same(learn(*both), learn(*both, tried))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(LiteShape)])
def test_the_field_decides_the_shape(field):
    small = LiteShape(8, 8, 1, 8, 1, (16, 32), 8)
    other = {"widths": (16, 48), "timestep": 100, "encoder_blocks": 2, "decoder_blocks": 2}.get(field, 16)
    one, two = (build_generator(shape) for shape in (small, dataclasses.replace(small, **{field: other})))
    if field == "timestep":
        assert (one.timestep, two.timestep) == (280, 100)
    else:
        shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (one, two)]
        assert shapes[0] != shapes[1]


def test_what_is_written_and_when(places):
    folder, images, _ = places
    changes = ("loop.steps=6", "loop.checkpoint_every=1", "loop.keep=3", "loop.log_every=3")
    target = folder / "written"
    run(tiny(folder, images, *changes, "loop.sample_every=6", "loop.validate_every=3"), target, quiet)
    assert sorted(path.name for path in target.glob("step-*.pt")) == [f"step-{n:08}.pt" for n in (4, 5, 6)]
    lines = [json.loads(line) for line in (target / "log.jsonl").read_text().splitlines()]
    for name in ("generator/pixel", "held_out/psnr"):
        assert [line["step"] for line in lines if name in line] == [3, 6]
    assert sum(path.stat().st_size for path in target.rglob("events*")) > 3 * 96 * 96  # the sample images


def test_draws_from_the_posterior_are_learnt_from_unless_switched_off(places, tiny_base):
    folder, images, _ = places
    states = []
    for draw in ("true", "false"):
        recipe = tiny_sd21(tiny_base, images, folder, f"sd21.draw_latent={draw}", "loop.steps=1", "vsd.weight=0")
        run(recipe, folder / f"sd21-{draw}", quiet)
        states.append(learnt(folder / f"sd21-{draw}"))
    assert not same(*states)


@pytest.fixture(scope="module")
def pooled(places):
    """Settings of a pool of one image, and a function that returns what pool others make."""
    folder = places[0]
    large = write_images(folder / "large", count=2, size=1024)
    plain = DataConfig(
        folder=str(large),
        holdout=1,
        crop_px=64,
        pool=PoolConfig(shards=1, folder=str(folder / "pools"), mixture={"clean": 1.0}),
    )

    def made(changes):
        data = dataclasses.replace(plain, pool=dataclasses.replace(plain.pool, **changes))
        make_pool(data)
        return data, [path.read_bytes() for path in sorted(pool_folder(data).iterdir())]

    return made


@pytest.mark.parametrize("field", POOL)
def test_the_field_decides_the_pool(field, pooled):
    assert pooled({})[1] != pooled(POOL[field])[1]


@pytest.mark.parametrize("field", SHARES)
def test_the_share_decides_which_sample_is_drawn(field, pooled):
    samples = [open_material(pooled(SHARES[field] | share)[0], 0, 8) for share in ({}, {field: 1.0})]
    assert any(not torch.equal(samples[0][n].low, samples[1][n].low) for n in range(8))
