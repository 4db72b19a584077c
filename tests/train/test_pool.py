"""Pairs that are made once: the same on every run, aligned, through real encoders, and resumable."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from image_core.images import to_images
from train.config import DataConfig, PoolConfig, RecipeError
from train.data import pool
from train.data.contours import contour_page, lattice, stripes
from train.data.damage import KINDS, MATERIALS, damage
from train.data.encoders import CHANCES, encoder_options, transcode
from train.data.material import held_out, open_material
from train.data.pool_samples import PoolSamples, with_combs

MIXTURE = {"video": 0.5, "camera": 0.2, "clean": 0.1, "old film": 0.1, "heavy": 0.1}


def smooth_image(seed, size=512):
    small = np.random.default_rng(seed).integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        Image.fromarray(smooth_image(number)).save(folder / f"{number}.png")
    settings = PoolConfig(
        shards=2, folder=str(tmp_path_factory.mktemp("pools")), mixture=MIXTURE, overlays=1, pages=1,
        overlay_share=0.2, page_share=0.2, recoloured=0.3, squeezed=0.3, half=0.3,
    )  # fmt: skip
    config = DataConfig(folder=str(folder), holdout=2, crop_px=64, pool=settings)
    pool.make_pool(config)
    return config


def moved(data, folder, **changes):
    return replace(data, pool=replace(data.pool, folder=str(folder), **changes))


def test_a_pool_is_the_same_on_every_run_and_an_interrupted_one_is_completed(data, tmp_path):
    first, again = pool.pool_folder(data), moved(data, tmp_path)
    pool.make_pool(again)
    for path in first.iterdir():
        assert path.read_bytes() == (pool.pool_folder(again) / path.name).read_bytes()
    (pool.pool_folder(again) / "lows-001.npy").unlink()
    (pool.pool_folder(again) / "notes-001.npy").write_bytes(b"half")
    pool.make_pool(again)
    for name in ("lows-001.npy", "notes-001.npy"):
        assert (first / name).read_bytes() == (pool.pool_folder(again) / name).read_bytes()


def test_stored_pages_and_untouched_photographs_are_only_made_small(data):
    """The mean of each block of 4 x 4 pixels is what a page's low image shows there, but for JPEG."""

    def pairs(count=12, **changes):
        samples = PoolSamples(moved(data, data.pool.folder, **changes), 0, count)
        return [(sample.low[0], sample.high[0]) for sample in map(samples.__getitem__, range(count))]

    def distance(low, high):
        return float((F.avg_pool2d(low - high, 8)).abs().mean())

    pages = {"page_share": 1.0, "overlay_share": 0.0}
    stored, damaged = (np.mean([distance(*pair) for pair in pairs(stored=chance, **pages)]) for chance in (1.0, 0.0))
    assert stored < 0.5 * damaged
    photographs = {"page_share": 0.0, "overlay_share": 0.0}
    untouched, damaged = (
        np.mean([distance(*pair) for pair in pairs(untouched=chance, **photographs)]) for chance in (1.0, 0.0)
    )
    assert untouched < 0.5 * damaged
    for kind, chance in ((photographs, "stored"), (pages, "untouched")):
        for one, other in zip(pairs(**{chance: 1.0}, **kind), pairs(**{chance: 0.0}, **kind), strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_fields_of_two_moments_are_learnt_as_the_first(data):
    """The rows of one field are as they were, those of the other have moved; the target is that of the first."""
    low = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    moves = set()
    for seed in range(12):
        combed = with_combs(low, np.random.default_rng(seed))
        assert np.array_equal(combed[::2], low[::2])
        inner = combed[1::2, 5:-5]
        moves |= {move for move in range(-5, 6) if np.array_equal(inner, np.roll(low, move, 1)[1::2, 5:-5])}
    assert moves <= {-4, -3, -2, -1, 1, 2, 3, 4} and min(moves) < 0 < max(moves)
    plain, fields = (open_material(moved(data, data.pool.folder, combed=chance), 0, 6) for chance in (0.0, 1.0))
    for one, other in ((plain[number].high[0], fields[number].high[0]) for number in range(6)):
        turned = [image.rot90(turns, (1, 2)) for image in (one, one.flip(2)) for turns in range(4)]
        assert any(torch.equal(image, other) for image in turned)


def test_other_settings_are_another_pool(data):
    folder = pool.pool_folder(data)
    assert pool.pool_folder(moved(data, data.pool.folder, shards=9, growth=5)) == folder
    assert pool.pool_folder(moved(data, data.pool.folder, seed=1)) != folder
    assert pool.pool_folder(moved(data, data.pool.folder, mixture={"clean": 1.0})) != folder


def test_samples_follow_from_seed_and_number(data):
    one, other = open_material(data, 3, 40), open_material(data, 3, 40)
    for number in (0, 39, 7):
        assert torch.equal(one[number].low, other[number].low) and torch.equal(one[number].high, other[number].high)
        assert one[number].low.shape == one[number].high.shape == (1, 3, 64, 64)
    assert not torch.equal(one[0].high, open_material(data, 4, 40)[0].high)
    with pytest.raises(IndexError):
        one[40]


def test_low_and_high_show_the_same_place(data, tmp_path):
    clean = moved(data, tmp_path, mixture={"clean": 1.0}, overlay_share=0.0, page_share=0.0, shards=1)
    pool.make_pool(clean)
    shifts = []
    for sample in (open_material(clean, 0, 30)[number] for number in range(30)):
        low, high = (to_images(tensor, np.uint8)[0].mean(-1).astype(np.float32) for tensor in (sample.low, sample.high))
        shifts.append(cv2.phaseCorrelate(low, high, cv2.createHanningWindow((64, 64), cv2.CV_32F))[0])
    assert np.abs(np.median(shifts, axis=0)).max() < 0.05  # aliasing moves single ones


def test_more_shards_take_part_as_a_run_goes_on(data):
    growing = moved(data, data.pool.folder, growth=10)
    samples = open_material(growing, 0, 40)
    assert [samples.shards(number) for number in (0, 9, 10, 39)] == [1, 1, 2, 2]


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(RecipeError, match=r"highs\.npy is missing; make the pool first"):
        open_material(moved(data, tmp_path), 0, 10)
    with pytest.raises(RecipeError, match=r"unknown kind 'vidoe'; expected"):
        pool.pool_folder(moved(data, tmp_path, mixture={"vidoe": 1.0}))
    with pytest.raises(RecipeError, match="must sum to 1"):
        PoolConfig(mixture={"video": 0.5})
    with pytest.raises(RecipeError, match="squeezed is a probability"):
        PoolConfig(squeezed=1.5)
    with pytest.raises(RecipeError, match="there are none of these images"):
        PoolConfig(page_share=0.1)


def test_held_out_pairs_are_of_images_that_no_pair_shows(data):
    pairs = held_out(data)
    assert len(pairs) == 2 and all(low.shape == high.shape == (3, 512, 512) for low, high in pairs)
    again = held_out(data)
    assert all(torch.equal(one[side], other[side]) for one, other in zip(pairs, again, strict=True) for side in (0, 1))
    highs = np.load(pool.pool_folder(data) / "highs.npy")
    assert len(highs) == 2 + 1 + 1
    assert not any(np.array_equal(to_images(high[None], np.uint8)[0], known) for _, high in pairs for known in highs)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_damage_gives_a_small_image_of_the_same_thing(kind):
    high = smooth_image(7, 256)
    low = damage(high, kind, 4, np.random.default_rng(1))
    assert low.shape == (64, 64, 3) and low.dtype == np.uint8
    assert np.array_equal(low, damage(high, kind, 4, np.random.default_rng(1)))
    small = cv2.resize(high, (64, 64), interpolation=cv2.INTER_AREA)
    assert 0 < np.abs(low.astype(int) - small).mean() < 40


def test_most_of_the_shipped_recipe_goes_through_a_codec():
    from pathlib import Path

    from train.recipe import load_recipe

    recipe = load_recipe(Path(pool.__file__).parent.parent / "recipes" / "lite-clear.toml", ())
    mixture = recipe.data.pool.mixture
    coded = sum(share * MATERIALS[kind].coded for kind, share in mixture.items() if kind in MATERIALS)
    assert coded >= 0.4


@pytest.mark.parametrize("codec", CHANCES)
def test_real_encoders_leave_more_damage_at_lower_quality_and_the_same_every_time(codec):
    clip = np.stack([smooth_image(3, 96)] * 3)
    rough = np.clip(clip + np.random.default_rng(0).normal(0, 12, clip.shape), 0, 255).astype(np.uint8)
    best, worst = (5, 30) if codec in ("mpeg4", "mpeg2video") else (12, 45)
    errors = []
    for quality in (best, worst):
        result = transcode(rough, codec, encoder_options(codec, quality))
        assert np.array_equal(result, transcode(rough, codec, encoder_options(codec, quality)))
        errors.append(np.abs(result.astype(int) - rough).mean())
    assert errors[0] < errors[1]


def test_pages_hold_straight_edges_and_no_photograph():
    pages = [contour_page(128, np.random.default_rng(number)) for number in range(6)]
    assert all(page.shape == (128, 128, 3) and page.dtype == np.uint8 for page in pages)
    assert len({page.tobytes() for page in pages}) == 6


def one_way(cover, turns):
    """Return how far the directions of edges are alike, in [0, 1], where `turns` of them in a circle count as one."""
    y, x = np.gradient(cover)
    energy, angle = x**2 + y**2, np.arctan2(y, x)
    return abs((energy * np.exp(1j * turns * angle)).sum()) / energy.sum()


def test_the_bars_of_a_lattice_cross_at_right_angles():
    """By quarter turns they are alike, by half turns not; of stripes the latter."""
    seeds = [np.random.default_rng(seed) for seed in range(12)]
    lattices, lines = ([draw(128, rng) for rng in seeds] for draw in (lattice, stripes))
    assert np.median([one_way(cover, 4) for cover in lattices]) > 0.6
    assert np.median([one_way(cover, 2) for cover in lattices]) < 0.3
    assert np.median([one_way(cover, 2) for cover in lines]) > 0.8
    assert all(0 < cover.mean() < 0.6 and cover.max() <= 1 for cover in lattices)


def test_without_lattices_a_page_is_what_it_was():
    before, after = (contour_page(128, np.random.default_rng(6), *more) for more in ((), (0.0,)))
    assert np.array_equal(before, after)
    assert not np.array_equal(before, contour_page(128, np.random.default_rng(6), 1.0))
