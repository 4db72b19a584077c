"""Training samples: the same item whatever runs, and bad files named and passed over."""

import logging
import multiprocessing
import pickle
import time

import cv2
import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

import train.data.codec
from image_core.images import to_images
from tests.support.training_files import save_image, write_images
from train.config import DataConfig, RecipeError
from train.data.drawings import drawing
from train.data.encoders import transcode
from train.data.files import find_sources, list_images, read_list
from train.data.samples import ImageCache, held_out, open_samples, training_batches, training_images

LIGHT = {"light": 1.0}


def same(a, b):
    return torch.equal(a.low, b.low) and torch.equal(a.high, b.high) and a.caption == b.caption


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def test_a_sample_is_a_crop_and_its_low_quality(folder):
    config = DataConfig(folder=str(folder), holdout=0, crop_px=32)
    sources = [cv2.imread(str(p), cv2.IMREAD_COLOR_RGB) for p in sorted(folder.glob("*.png"))]
    captions = set()
    for sample in open_samples(config, seed=1, length=20):
        assert sample.low.shape == sample.high.shape == (1, 3, 32, 32)
        assert sample.low.dtype == torch.float32 and sample.low.abs().max() <= 1
        high = to_images(sample.high, np.uint8)[0]
        result = [
            np.array_equal(crop, turned)
            for source in sources
            for crop in sliding_window_view(source, (32, 32, 3))[:, :, 0].reshape(-1, 32, 32, 3)
            for turned in (high, high[:, ::-1])
            if (crop[0, 0] == turned[0, 0]).all()
        ]
        assert any(result) and not torch.equal(sample.low, sample.high)
        captions.add(sample.caption)
    assert captions == {"", "a red fox, snow"}


def test_turns_are_quarter_turns_too(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 40, dtype=np.uint8)[:, None, None], (1, 40, 3))
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    for turns, ways in ((False, {True}), (True, {True, False})):
        samples = open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, turns=turns), 0, 20)
        upright = {bool(np.ptp(sample.high[0, 0, :, 0].numpy()) > 0.5) for sample in samples}
        assert upright == ways


@pytest.mark.parametrize("workers", [0, 1])
def test_items_do_not_depend_on_workers_or_on_where_a_run_starts(folder, workers):
    samples = open_samples(DataConfig(folder=str(folder), holdout=1, crop_px=32), seed=3, length=13)
    whole = list(training_batches(samples, 2, 0, workers))
    assert len(whole) == 6 and whole[0].low.shape == (2, 1, 3, 32, 32) and len(whole[0].caption) == 2
    for step, batch in enumerate(whole):
        for place in range(2):
            item = samples[2 * step + place]
            assert torch.equal(batch.low[place], item.low) and batch.caption[place] == item.caption
    tail = list(training_batches(samples, 2, 4, 0))
    assert len(tail) == 2 and all(same(a, b) for a, b in zip(whole[4:], tail, strict=True))


def test_two_processes_see_together_what_one_sees(folder):
    samples = open_samples(DataConfig(folder=str(folder), holdout=0, crop_px=32), seed=3, length=18)
    whole = list(training_batches(samples, 4, 1, 0))
    shares = [list(training_batches(samples, 2, 1, 0, rank, 2)) for rank in (0, 1)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == 3
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.high, torch.cat([first.high, second.high]))
        assert batch.caption == first.caption + second.caption


def test_another_seed_is_another_order(folder):
    config = DataConfig(folder=str(folder), holdout=0, crop_px=32)
    assert not same(open_samples(config, 0, 1)[0], open_samples(config, 1, 1)[0])
    with pytest.raises(IndexError, match="1 of 1"):
        open_samples(config, 0, 1)[1]


def test_lists_of_images_with_relative_and_absolute_paths(folder, tmp_path):
    (tmp_path / "list.txt").write_text(f"\ufeffnear.png\n\n{folder / '0.png'}\r\n", encoding="utf-8")
    save_image(tmp_path / "near.png", 9)
    assert read_list(tmp_path / "list.txt") == [tmp_path / "near.png", folder / "0.png"]
    config = DataConfig(folder=str(folder), lists=(str(tmp_path / "list.txt"),), holdout=0, crop_px=32)
    assert len(find_sources(config)[0].images) == 7  # 0.png is counted once
    samples = open_samples(DataConfig(lists=(str(tmp_path / "list.txt"),), holdout=0, crop_px=32), 0, 4)
    assert samples[3].high.shape == (1, 3, 32, 32)


def test_the_last_images_by_name_are_held_out_and_always_degraded_alike(folder):
    config = DataConfig(folder=str(folder), holdout=2, crop_px=32)
    train, held = find_sources(config)
    assert [p.name for p in held.images] == ["4.png", "5.png"] and len(train.images) == 4
    first, again = held_out(config), held_out(config)
    assert len(first) == len(again) == 2
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    whole = cv2.imread(str(folder / "4.png"), cv2.IMREAD_COLOR_RGB)
    low, high = first[0]
    assert low.shape == (3, 64, 72) and np.array_equal(to_images(high[None], np.uint8)[0], whole)
    assert not torch.equal(low, high) and held_out(DataConfig(folder=str(folder), holdout=0)) == []


def test_large_held_out_images_are_cut_to_their_middle(tmp_path):
    path = save_image(tmp_path / "b.png", 0, (531, 90))
    save_image(tmp_path / "a.png", 0)
    ((_, high),) = held_out(DataConfig(folder=str(tmp_path), holdout=1, crop_px=32))
    middle = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)[9:521, 1:89]
    assert np.array_equal(to_images(high[None], np.uint8)[0], middle)


def test_training_images_are_spread_over_all_but_the_held_out(folder):
    config = DataConfig(folder=str(folder), holdout=1, crop_px=32)
    whole = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in list_images(folder)]
    for most, numbers in ((256, [0, 1, 2, 3, 4]), (3, [0, 2, 4]), (1, [0])):
        result = [to_images(image[None], np.uint8)[0] for image in training_images(config, most)]
        assert all(np.array_equal(a, whole[n]) for a, n in zip(result, numbers, strict=True))


def test_clean_leaves_a_image_as_it_is(folder):
    config = DataConfig(folder=str(folder), holdout=1, crop_px=32, mixture={"clean": 1.0})
    assert all(torch.equal(sample.low, sample.high) for sample in open_samples(config, 0, 5))
    assert all(torch.equal(low, high) for low, high in held_out(config))


def test_the_cache_is_bounded_forgets_the_oldest_and_stays_at_home(folder):
    paths = list_images(folder)
    cache = ImageCache(3 * 64 * 72 * 3)
    first = cache.read(paths[0])
    for path in (*paths[1:3], paths[0], paths[3]):
        cache.read(path)
    assert list(cache.held) == [paths[2], paths[0], paths[3]] and cache.held_bytes == 3 * first.nbytes
    assert cache.read(paths[0]) is first and len(pickle.dumps(cache)) < 200
    none = ImageCache(0)
    assert np.array_equal(none.read(paths[0]), first) and not none.held


# --- bad input ----------------------------------------------------------------------------------------------------


def test_bad_images_are_named_and_the_next_is_drawn_from_the_same_dice(tmp_path, caplog):
    for number in range(6):
        save_image(tmp_path / f"{number}.png", number)
    code = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(code[: len(code) // 2])
    (tmp_path / "1.png").write_text("no image")
    save_image(tmp_path / "3.png", 3, (20, 64))
    (tmp_path / "4.png").write_bytes(b"")
    config = DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, most_bad=4)
    samples, fresh = open_samples(config, 0, 60), open_samples(config, 0, 60)
    with caplog.at_level(logging.ERROR):
        items = list(samples)
    assert len(items) == 60 and same(fresh[59], items[59]) and same(fresh[7], items[7])
    output = [record.getMessage() for record in caplog.records if record.name == "train.data.samples"]
    for name, problem in [("0", "not a readable"), ("1", "not a readable"), ("3", "64 x 20 is smaller than crop_px 32"),
                          ("4", "not a readable")]:  # fmt: skip
        assert any(f"{name}.png: {problem}" in message for message in output)
    with pytest.raises(RecipeError, match=r"too many unusable files \(4 so far; data.most_bad is 3\); the last: .*png"):
        list(open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, most_bad=3), 0, 60))


@pytest.mark.slow
def test_a_worker_process_says_what_is_wrong_in_one_line(tmp_path):
    (tmp_path / "only.png").write_text("no image")
    samples = open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, most_bad=0), 0, 1)
    with pytest.raises(RecipeError, match=r"^too many unusable files .*not a readable image; remove .*$") as caught:
        next(training_batches(samples, 1, 0, workers=1))
    assert "\n" not in str(caught.value) and not multiprocessing.active_children()


def test_a_folder_of_nothing_but_bad_files_ends_at_once(tmp_path):
    (tmp_path / "only.png").write_text("no image")
    with pytest.raises(RecipeError, match=r"too many unusable files \(1 so far.*only\.png: not a readable image"):
        open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32), 0, 1)[0]
    with pytest.raises(RecipeError, match=r"none of these 1 files can be used; the last: .*only"):
        save_image(tmp_path / "a.png", 0)
        held_out(DataConfig(folder=str(tmp_path), holdout=1, crop_px=32))


def test_nothing_to_train_on_is_an_error_that_says_so(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes("\xe9t\xe9.png\n".encode("latin-1"))
    for config, message in [
        (DataConfig(), "set data.folder, data.lists or data.clips"),
        (DataConfig(folder=str(tmp_path / "empty")), "no images here"),
        (DataConfig(folder=str(tmp_path / "gone")), "not even a folder"),
        (DataConfig(clips=str(tmp_path / "empty")), "no videos here"),
        (DataConfig(lists=(str(tmp_path / "empty.txt"),)), "lists no images"),
        (DataConfig(lists=(str(tmp_path / "latin.txt"),)), "cannot be read as a list"),
        (DataConfig(lists=(str(tmp_path / "gone.txt"),)), "cannot be read as a list"),
        (DataConfig(folder=str(folder), holdout=6), "only 6 files; lower it"),
        (DataConfig(folder=str(folder), holdout=0, mixture={"hevy": 1.0}), "did you mean 'heavy'"),
    ]:
        with pytest.raises(RecipeError, match=message):
            open_samples(config, 0, 1)
    (tmp_path / "missing.txt").write_text("gone.png\n")
    with pytest.raises(RecipeError, match=r"gone\.png: cannot be read \(No such file"):
        open_samples(DataConfig(lists=(str(tmp_path / "missing.txt"),), holdout=0), 0, 1)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_px": 100}, "multiple of 8"),
        ({"frames": 0}, "frames must be at least 1"),
        ({"holdout": -1}, "holdout must not be negative"),
        ({"codec": 1.5}, "codec is a probability"),
        ({"mixture": {"light": 1.5, "heavy": -0.5}}, "mixture.light is a probability"),
        ({"mixture": {"light": "all"}}, "mixture.light is a probability"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        DataConfig(**changes)


def test_samples_of_several_frames_come_from_stills_too(folder):
    config = DataConfig(folder=str(folder), frames=3, holdout=0, crop_px=32, codec=0, mixture=LIGHT)
    sample = open_samples(config, 0, 1)[0]
    assert sample.low.shape == sample.high.shape == (3, 3, 32, 32)
    coded = open_samples(DataConfig(folder=str(folder), frames=3, holdout=0, crop_px=32, mixture=LIGHT), 0, 1)[0]
    assert torch.equal(sample.high, coded.high) and not torch.equal(sample.low, coded.low)


def test_tones_are_varied_in_the_good_image_before_it_is_made_bad(folder):
    plain, varied = (
        DataConfig(str(folder), holdout=0, crop_px=32, mixture=LIGHT, tones=tones) for tones in (False, True)
    )
    before, after = (open_samples(config, seed=0, length=80) for config in (plain, varied))
    ranges, errors, permuted = [], [], 0
    for n in range(80):
        a, b = (np.stack(to_images(samples[n].high, np.uint8)).astype(int) for samples in (before, after))
        permuted += not np.array_equal(a, b) and np.array_equal(np.sort(a, -1), np.sort(b, -1))
        ranges.append(np.ptp(b, axis=(0, 1, 2)).min())
        errors.append(np.abs(np.stack(to_images(after[n].low, np.uint8)).mean((0, 1, 2)) - b.mean((0, 1, 2))).max())
    assert np.median(errors) < 2  # low and high have the same tones
    # five of six permutations move something, in half of three quarters of the items
    assert 15 <= permuted <= 45
    assert min(ranges) < 60 and max(ranges) > 240


def test_drawings_are_of_the_dice_alone_and_as_frequent_as_asked(folder):
    config = DataConfig(str(folder), holdout=0, crop_px=32, drawn=0.5, mixture=LIGHT)
    samples = open_samples(config, seed=0, length=60)
    # drawings have few colours, the images here are of noise
    colours = [len(np.unique(to_images(samples[n].high, np.uint8)[0].reshape(-1, 3), axis=0)) for n in range(60)]
    assert 18 <= sum(count < 700 for count in colours) <= 42
    assert np.array_equal(drawing(64, np.random.default_rng(1)), drawing(64, np.random.default_rng(1)))
    seen = np.stack([drawing(64, np.random.default_rng(n)) for n in range(40)])
    assert seen.shape == (40, 64, 64, 3) and seen.dtype == np.uint8
    assert seen.min() < 10 and seen.max() > 245
    steps = np.abs(np.diff(seen.astype(int), axis=2))
    assert (steps.max((1, 2, 3)) > 40).mean() > 0.8  # nearly all have edges,
    assert np.median((steps == 0).mean((1, 2, 3))) > 0.5  # and areas between them


def test_video_is_one_frame_of_a_clip_that_went_through_a_video_encoder(folder, monkeypatch):
    coded = []
    monkeypatch.setattr(train.data.codec, "transcode", lambda clip, *how: coded.append(how) or transcode(clip, *how))
    config = DataConfig(folder=str(folder), holdout=1, crop_px=32, codec=0, mixture={"video": 1.0})
    samples = open_samples(config, seed=0, length=12)
    shown = [samples[n] for n in range(12)]
    assert all(s.low.shape == s.high.shape == (1, 3, 32, 32) for s in shown)
    assert len(coded) == 12 and {codec for codec, _ in coded} == {"libx264", "libx265", "mpeg4"}
    assert all(same(samples[n], shown[n]) for n in (0, 7))
    # what is learnt from is the frame that belongs to the target, not a neighbour of it
    errors = [float((s.low - s.high).abs().mean()) for s in shown]
    assert np.median(errors) < 0.7 * np.median([float((s.high.flip(-1) - s.high).abs().mean()) for s in shown])
    (low, high), *_ = held_out(config)
    assert low.shape == high.shape and not torch.equal(low, high)


def test_pairs_come_fast_enough_for_a_gpu(tmp_path):
    """A tenth of what the benchmark shows, for a busy machine: benchmarks/speed/degradation_speed.py."""
    save_image(tmp_path / "a.png", 0, (600, 600))
    samples = open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=512), 0, 9)
    samples[0]
    started = time.process_time()
    for number in range(1, 9):
        samples[number]
    assert 8 / (time.process_time() - started) > 3
