"""Training samples: the same item whatever runs, right frames out of real films, bad files named and passed over."""

import importlib.util
import logging
import pickle
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from image_core.errors import MediaError
from image_core.images import to_pictures
from osediff_video.media.probe import probe
from osediff_video.media.reader import FilmSource
from tests.media_files import picture, write_film
from train import clips
from train.clips import index_film, is_plain, read_frames, read_with_av, read_with_decord
from train.config import DataConfig, RecipeError
from train.data import PictureCache, batches, held_out, open_samples
from train.sources import find_sources, list_films, list_pictures, read_list
from train.stills import MOST_PIXELS_PER_PIXEL, Motion, camera_path, look, still_clip, view

LIGHT = {"light": 1.0}
needs_decord = pytest.mark.skipif(not importlib.util.find_spec("decord"), reason="no decord on this platform")


def save_picture(path, seed, size=(64, 72)):
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((size[1], size[0]), Image.Resampling.BICUBIC).save(path)
    return path


def frames_of(count, height=48, width=64):
    return [picture(number, height, width) for number in range(count)]


def same(a, b):
    return torch.equal(a.low, b.low) and torch.equal(a.high, b.high) and a.caption == b.caption


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        save_picture(path / f"{number}.png", number)
    (path / "2.txt").write_text("a red fox, snow\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    path = tmp_path_factory.mktemp("films")
    pts = [512 * number for number in range(24)]
    write_film(path / "a.mp4", pts, options={"g": "6", "bf": "2"})
    write_film(path / "b.mkv", pts, options={"g": "250"})
    (path / "a.txt").write_text("a bar walks", encoding="utf-8")
    return path


# --- pictures -----------------------------------------------------------------------------------------------------


def test_a_sample_is_a_crop_and_its_low_quality(folder):
    config = DataConfig(folder=str(folder), holdout=0, crop_px=32)
    sources = [cv2.imread(str(p), cv2.IMREAD_COLOR_RGB) for p in sorted(folder.glob("*.png"))]
    captions = set()
    for sample in open_samples(config, seed=1, length=20):
        assert sample.low.shape == sample.high.shape == (1, 3, 32, 32)
        assert sample.low.dtype == torch.float32 and sample.low.abs().max() <= 1
        high = to_pictures(sample.high, np.uint8)[0]
        found = [
            np.array_equal(crop, turned)
            for source in sources
            for crop in np.lib.stride_tricks.sliding_window_view(source, (32, 32, 3))[::1, ::1, 0].reshape(
                -1, 32, 32, 3
            )
            for turned in (high, high[:, ::-1])
            if (crop[0, 0] == turned[0, 0]).all()
        ]
        assert any(found) and not torch.equal(sample.low, sample.high)
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
    whole = list(batches(samples, 2, 0, workers))
    assert len(whole) == 6 and whole[0].low.shape == (2, 1, 3, 32, 32) and len(whole[0].caption) == 2
    for step, batch in enumerate(whole):
        for place in range(2):
            item = samples[2 * step + place]
            assert torch.equal(batch.low[place], item.low) and batch.caption[place] == item.caption
    tail = list(batches(samples, 2, 4, 0))
    assert len(tail) == 2 and all(same(a, b) for a, b in zip(whole[4:], tail, strict=True))


def test_two_processes_see_together_what_one_sees(folder):
    samples = open_samples(DataConfig(folder=str(folder), holdout=0, crop_px=32), seed=3, length=18)
    whole = list(batches(samples, 4, 1, 0))
    shares = [list(batches(samples, 2, 1, 0, rank, 2)) for rank in (0, 1)]
    assert len(whole) == len(shares[0]) == len(shares[1]) == 3
    for batch, first, second in zip(whole, *shares, strict=True):
        assert torch.equal(batch.high, torch.cat([first.high, second.high]))
        assert batch.caption == first.caption + second.caption


def test_another_seed_is_another_order(folder):
    config = DataConfig(folder=str(folder), holdout=0, crop_px=32)
    assert not same(open_samples(config, 0, 1)[0], open_samples(config, 1, 1)[0])
    with pytest.raises(IndexError, match="1 of 1"):
        open_samples(config, 0, 1)[1]


def test_lists_of_pictures_with_relative_and_absolute_paths(folder, tmp_path):
    (tmp_path / "list.txt").write_text(f"\ufeffnear.png\n\n{folder / '0.png'}\r\n", encoding="utf-8")
    save_picture(tmp_path / "near.png", 9)
    assert read_list(tmp_path / "list.txt") == [tmp_path / "near.png", folder / "0.png"]
    config = DataConfig(folder=str(folder), lists=(str(tmp_path / "list.txt"),), holdout=0, crop_px=32)
    assert len(find_sources(config)[0].pictures) == 7  # 0.png is counted once
    samples = open_samples(DataConfig(lists=(str(tmp_path / "list.txt"),), holdout=0, crop_px=32), 0, 4)
    assert samples[3].high.shape == (1, 3, 32, 32)


def test_the_last_pictures_by_name_are_held_out_and_always_degraded_alike(folder):
    config = DataConfig(folder=str(folder), holdout=2, crop_px=32)
    train, held = find_sources(config)
    assert [p.name for p in held.pictures] == ["4.png", "5.png"] and len(train.pictures) == 4
    first, again = held_out(config), held_out(config)
    assert len(first) == len(again) == 2
    assert all(torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True))
    middle = cv2.imread(str(folder / "4.png"), cv2.IMREAD_COLOR_RGB)[16:48, 20:52]
    assert np.array_equal(to_pictures(first[0][1], np.uint8)[0], middle)
    clip = held_out(DataConfig(folder=str(folder), holdout=2, crop_px=32, frames=3))
    assert clip[0][0].shape == clip[0][1].shape == (3, 3, 32, 32)
    assert held_out(DataConfig(folder=str(folder), holdout=0)) == []


def test_the_cache_is_bounded_forgets_the_oldest_and_stays_at_home(folder):
    paths = list_pictures(folder)
    cache = PictureCache(3 * 64 * 72 * 3)
    first = cache.read(paths[0])
    for path in (*paths[1:3], paths[0], paths[3]):
        cache.read(path)
    assert list(cache.held) == [paths[2], paths[0], paths[3]] and cache.held_bytes == 3 * first.nbytes
    assert cache.read(paths[0]) is first and len(pickle.dumps(cache)) < 200
    none = PictureCache(0)
    assert np.array_equal(none.read(paths[0]), first) and not none.held


# --- bad input ----------------------------------------------------------------------------------------------------


def test_bad_pictures_are_named_and_the_next_is_drawn_from_the_same_dice(tmp_path, caplog):
    for number in range(6):
        save_picture(tmp_path / f"{number}.png", number)
    code = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(code[: len(code) // 2])
    (tmp_path / "1.png").write_text("no picture")
    save_picture(tmp_path / "3.png", 3, (20, 64))
    (tmp_path / "4.png").write_bytes(b"")
    config = DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, most_bad=4)
    samples, fresh = open_samples(config, 0, 60), open_samples(config, 0, 60)
    with caplog.at_level(logging.ERROR):
        items = list(samples)
    assert len(items) == 60 and same(fresh[59], items[59]) and same(fresh[7], items[7])
    said = [record.getMessage() for record in caplog.records if record.name == "train.data"]
    for name, problem in [("0", "not a readable"), ("1", "not a readable"), ("3", "64 x 20 is smaller than crop_px 32"),
                          ("4", "not a readable")]:  # fmt: skip
        assert any(f"{name}.png: {problem}" in message for message in said)
    with pytest.raises(RecipeError, match=r"too many unusable files \(4 so far; data.most_bad is 3\); the last: .*png"):
        list(open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32, most_bad=3), 0, 60))


def test_a_folder_of_nothing_but_bad_files_ends_at_once(tmp_path):
    (tmp_path / "only.png").write_text("no picture")
    with pytest.raises(RecipeError, match=r"too many unusable files \(1 so far.*only\.png: not a readable picture"):
        open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=32), 0, 1)[0]
    with pytest.raises(RecipeError, match="none of the 1 held-out"):
        save_picture(tmp_path / "a.png", 0)
        held_out(DataConfig(folder=str(tmp_path), holdout=1, crop_px=32))


def test_nothing_to_train_on_is_an_error_that_says_so(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes("\xe9t\xe9.png\n".encode("latin-1"))
    for config, message in [
        (DataConfig(), "set data.folder, data.lists or data.clips"),
        (DataConfig(folder=str(tmp_path / "empty")), "no pictures here"),
        (DataConfig(folder=str(tmp_path / "gone")), "not even a folder"),
        (DataConfig(clips=str(tmp_path / "empty")), "no films here"),
        (DataConfig(lists=(str(tmp_path / "empty.txt"),)), "lists no pictures"),
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
        ({"codec": 1.5}, "codec is a chance"),
        ({"mixture": {"light": 1.5, "heavy": -0.5}}, "mixture.light is a chance"),
        ({"mixture": {"light": "all"}}, "mixture.light is a chance"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        DataConfig(**changes)


# --- films --------------------------------------------------------------------------------------------------------

FILMS = {
    "short_gop.mp4": {"options": {"g": "6", "bf": "2"}},
    "open_gop.mp4": {"options": {"g": "8", "bf": "3", "x264-params": "open-gop=1"}},
    "one_gop.mkv": {"options": {"g": "250"}},
    "untagged.mp4": {"tags": None},
    "full_range.mp4": {"tags": (1, 2, 1, 1)},
    "ten_bit.mp4": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"x265-params": "log-level=none:keyint=7"},
    },
    "mpeg4.avi": {"codec": "mpeg4", "time_base": Fraction(1, 25), "options": {"qmin": "2", "qmax": "2", "g": "9"}},
    "transport.ts": {"time_base": Fraction(1, 90000), "options": {"g": "6", "bf": "2"}},
}


@pytest.fixture(scope="module", params=FILMS)
def film(request, tmp_path_factory):
    settings = FILMS[request.param]
    tick = {Fraction(1, 25): 1, Fraction(1, 90000): 3600}.get(settings.get("time_base"), 512)
    path = tmp_path_factory.mktemp("film") / request.param
    return write_film(path, [tick * n for n in range(24)], images=frames_of(24), last_duration=tick, **settings)


def closest(frame, references):
    return int(np.argmin([np.abs(frame.astype(float) - reference).mean() for reference in references]))


def test_any_frames_of_a_film_are_those_of_reading_it_through(film):
    through = [frame.image for frame in FilmSource(probe(film)).frames()]
    if through[0].dtype == np.uint16:
        through = [(image / 257).round().astype(np.uint8) for image in through]
    index = index_film(film)
    assert len(index.times) == len(through) == 24
    for first in range(0, 21):
        found = read_with_av(index, first, 4)
        assert found.shape == (4, 48, 64, 3) and found.dtype == np.uint8
        for number, frame in enumerate(found):
            assert np.abs(frame.astype(int) - through[first + number]).mean() < 1  # 0 but for the deep one's rounding
            assert closest(frame, frames_of(24)) == first + number


@needs_decord
def test_decord_and_pyav_give_the_same_frames(film):
    index = index_film(film)
    assert is_plain(index) == (film.suffix in (".mp4", ".mkv") and "ten_bit" not in film.name)
    if not is_plain(index):
        assert np.array_equal(read_frames(film, 5, 3), read_with_av(index, 5, 3))
        return
    for first in (0, 5, 7, 11, 20):
        theirs, ours = read_with_decord(index, first, 4), read_with_av(index, first, 4)
        assert theirs is not None and theirs.shape == ours.shape
        assert np.abs(theirs.astype(int) - ours).mean() < 4  # their scaler interpolates chroma more coarsely
        assert [closest(f, frames_of(24)) for f in theirs] == [closest(f, frames_of(24)) for f in ours]
        assert np.array_equal(read_frames(film, first, 4), theirs)


@needs_decord
def test_films_that_decord_miscounts_are_read_with_pyav(shared):
    path = shared / "data/video/io/androidx_iibbibb_editlist_videoonly.mp4"
    index = index_film(path)
    assert read_with_decord(index, 0, 3) is None
    through = np.stack([frame.image for frame in FilmSource(probe(path)).frames()])
    assert np.array_equal(read_frames(path, 4, 3), through[4:7])


def test_without_decord_films_are_read_all_the_same(films, monkeypatch):
    monkeypatch.setattr(clips, "HAS_DECORD", False)
    assert np.array_equal(read_frames(films / "a.mp4", 9, 3), read_with_av(index_film(films / "a.mp4"), 9, 3))


def test_turned_and_damaged_and_foreign_films(films, tmp_path):
    with pytest.raises(MediaError, match="has 24 frames, wanted 22 to 25"):
        read_frames(films / "a.mp4", 22, 4)
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(MediaError, match="text"):
        read_frames(tmp_path / "text.mp4", 0, 1)
    code = bytearray((films / "b.mkv").read_bytes())
    half = len(code) // 2
    code[half : half + 400] = bytes(400)
    (tmp_path / "hole.mkv").write_bytes(code)
    try:
        assert read_frames(tmp_path / "hole.mkv", 0, 24).shape[0] == 24
    except MediaError as error:
        assert "hole.mkv" in str(error)


def test_samples_from_films(films):
    config = DataConfig(clips=str(films), frames=4, holdout=1, crop_px=32, mixture=LIGHT)
    assert list_films(films) == [films / "a.mp4", films / "b.mkv"]
    samples = open_samples(config, 0, 12)
    assert samples[0].high.shape == samples[0].low.shape == (4, 3, 32, 32) and samples[0].caption == "a bar walks"
    through = read_frames(films / "a.mp4", 0, 24)
    starts, moving = set(), False
    for sample in samples:
        clip = to_pictures(sample.high, np.uint8)
        places = [
            first
            for first in range(21)
            for mirrored in (through[first : first + 4], through[first : first + 4, :, ::-1])
            for top in range(17)
            for left in range(33)
            if np.array_equal(mirrored[0, top, left : left + 32], clip[0][0])
            and all(np.array_equal(f[top : top + 32, left : left + 32], c) for f, c in zip(mirrored, clip, strict=True))
        ]
        assert places
        starts.add(places[0])
        moving |= not np.array_equal(clip[0], clip[1])
    assert len(starts) > 4 and moving
    (low, high), *rest = held_out(config)
    assert low.shape == high.shape == (4, 3, 32, 32) and not rest
    single = open_samples(DataConfig(clips=str(films), holdout=0, crop_px=32), 0, 1)[0]
    assert single.high.shape == (1, 3, 32, 32)


def test_short_small_and_broken_films_are_named_and_passed_over(tmp_path, caplog):
    write_film(tmp_path / "good.mp4", [512 * n for n in range(6)])
    write_film(tmp_path / "short.mp4", [0, 512])
    write_film(tmp_path / "small.mp4", [512 * n for n in range(6)], size=(16, 64))
    (tmp_path / "broken.mp4").write_text("no film")
    config = DataConfig(clips=str(tmp_path), frames=3, holdout=0, crop_px=32, mixture=LIGHT)
    with caplog.at_level(logging.ERROR):
        assert len(list(open_samples(config, 0, 20))) == 20
    said = "\n".join(record.getMessage() for record in caplog.records)
    for words in ("short.mp4: has 2 frames", "small.mp4: 64 x 16 is smaller", "broken.mp4: not a film"):
        assert words in said


def test_pictures_and_films_are_mixed_by_their_share(folder, films):
    config = DataConfig(folder=str(folder), clips=str(films), clip_share=0.3, holdout=0, crop_px=32)
    samples = open_samples(config, 0, 400)
    drawn = [samples.draw(np.random.default_rng((0, n)))[0].suffix for n in range(300)]
    assert sum(suffix != ".png" for suffix in drawn) / 300 == pytest.approx(0.3, abs=0.09)


# --- clips out of stills ------------------------------------------------------------------------------------------


def wave(x, y):
    return 127.5 + 60 * np.sin(0.45 * x + 0.31 * y) + 40 * np.cos(0.8 * y - 0.5 * x)


@pytest.fixture(scope="module")
def waves():
    y, x = np.mgrid[:200, :220]
    return np.rint(wave(x, y)).astype(np.uint8)[..., None].repeat(3, 2)


def test_frames_are_exact_to_a_fraction_of_a_pixel(waves):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for _ in range(8):
        for seen in camera_path(200, 220, 4, 64, rng):
            expected = wave(*np.tensordot(seen, np.stack([x, y, np.ones_like(x)]), 1))
            error = (look(waves, seen, 64)[..., 0] - expected)[4:-4, 4:-4]
            assert np.sqrt((error**2).mean()) < 1  # of 255; rounding alone is 0.4


def test_what_is_too_fine_vanishes_instead_of_aliasing():
    fine = (
        np.rint(127.5 + 100 * np.cos(2.9 * np.arange(200))).astype(np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)
    )
    seen = look(fine, view(64, 1.5, 0, (100, 100)), 64)[6:-6, 6:-6]
    assert np.abs(seen.astype(float) - 127.5).max() < 6


def test_a_standing_camera_shows_the_picture_itself(waves):
    seen = look(waves, view(64, 1, 0, (100.5, 90.5)), 64)
    assert np.abs(seen.astype(int) - waves[59:123, 69:133]).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 300), (70, 66), (400, 300)])
def test_the_camera_never_leaves_the_picture_and_never_jumps(height, width):
    motion = Motion()
    for seed in range(60):
        path = camera_path(height, width, 7, 64, np.random.default_rng(seed), motion)
        assert len(path) == 7
        corners = np.array([(x, y, 1) for x in (0, 63) for y in (0, 63)]).T
        seen = np.stack([view @ corners for view in path])
        assert seen.min() > -1e-6 and seen[:, 0].max() < width - 1 + 1e-6 and seen[:, 1].max() < height - 1 + 1e-6
        density = [np.sqrt(np.linalg.det(view[:, :2])) for view in path]
        assert min(density) > 0.9 and max(density) < MOST_PIXELS_PER_PIXEL * 1.05
        steps = np.diff([view @ (31.5, 31.5, 1) for view in path], axis=0)
        assert np.hypot(*steps.T).max() < 2 * motion.pan_px * MOST_PIXELS_PER_PIXEL
        assert np.abs(np.diff(steps, axis=0)).max() < motion.pan_px  # no jerk


def test_cameras_move_by_fractions_of_a_pixel_in_every_way(waves):
    paths = [camera_path(200, 220, 5, 64, np.random.default_rng(seed)) for seed in range(100)]
    moves = np.array([path[1] @ (31.5, 31.5, 1) - path[0] @ (31.5, 31.5, 1) for path in paths])
    assert (np.abs(moves).max(1) > 0.05).mean() > 0.8 and (np.abs(moves) < 1).all(1).mean() > 0.1
    assert (moves > 0).any(0).all() and (moves < 0).any(0).all()
    turns = [np.arctan2(path[1][1, 0], path[1][0, 0]) - np.arctan2(path[0][1, 0], path[0][0, 0]) for path in paths]
    zooms = [np.linalg.det(path[1][:, :2]) / np.linalg.det(path[0][:, :2]) for path in paths]
    assert min(turns) < -1e-3 and max(turns) > 1e-3 and min(zooms) < 0.995 and max(zooms) > 1.005
    clip = still_clip(waves, 5, 64, np.random.default_rng(0))
    assert clip.shape == (5, 64, 64, 3) and np.array_equal(clip, still_clip(waves, 5, 64, np.random.default_rng(0)))
    with pytest.raises(ValueError, match="smaller"):
        still_clip(waves, 5, 208, np.random.default_rng(0))


def test_samples_of_several_frames_come_from_stills_too(folder):
    config = DataConfig(folder=str(folder), frames=3, holdout=0, crop_px=32, codec=0, mixture=LIGHT)
    sample = open_samples(config, 0, 1)[0]
    assert sample.low.shape == sample.high.shape == (3, 3, 32, 32)
    coded = open_samples(DataConfig(folder=str(folder), frames=3, holdout=0, crop_px=32, mixture=LIGHT), 0, 1)[0]
    assert torch.equal(sample.high, coded.high) and not torch.equal(sample.low, coded.low)


def test_pairs_come_fast_enough_for_a_gpu(tmp_path):
    """A tenth of what the benchmark shows, so that a busy machine does not fail: benchmarks/degradation_speed.py."""
    save_picture(tmp_path / "a.png", 0, (600, 600))
    samples = open_samples(DataConfig(folder=str(tmp_path), holdout=0, crop_px=512), 0, 9)
    samples[0]
    started = time.process_time()
    for number in range(1, 9):
        samples[number]
    assert 8 / (time.process_time() - started) > 3
