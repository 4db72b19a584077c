"""Videos: the right frames from anywhere, whoever decodes them, and samples made of them."""

import importlib.util
import logging
from fractions import Fraction

import numpy as np
import pytest

from image_core.errors import MediaError
from image_core.images import to_images
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from tests.support.media_files import sample_image, write_video
from tests.support.training_files import write_images, write_videos
from train.config import DataConfig
from train.data import clips
from train.data.clips import index_video, is_plain, read_frames, read_with_av, read_with_decord
from train.data.files import list_videos
from train.data.samples import held_out, open_samples

LIGHT = {"light": 1.0}
needs_decord = pytest.mark.skipif(not importlib.util.find_spec("decord"), reason="no decord on this platform")


def frames_of(count, height=48, width=64):
    return [sample_image(number, height, width) for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"))


VIDEOS = {
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


@pytest.fixture(scope="module", params=VIDEOS)
def video(request, tmp_path_factory):
    settings = VIDEOS[request.param]
    tick = {Fraction(1, 25): 1, Fraction(1, 90000): 3600}.get(settings.get("time_base"), 512)
    path = tmp_path_factory.mktemp("video") / request.param
    return write_video(path, [tick * n for n in range(24)], images=frames_of(24), last_duration=tick, **settings)


def closest(frame, references):
    return int(np.argmin([np.abs(frame.astype(float) - reference).mean() for reference in references]))


def test_any_frames_of_a_video_are_those_of_reading_it_through(video):
    through = [frame.image for frame in VideoSource(probe(video)).frames()]
    if through[0].dtype == np.uint16:
        through = [(image / 257).round().astype(np.uint8) for image in through]
    index = index_video(video)
    assert len(index.times) == len(through) == 24
    for first in range(0, 21):
        result = read_with_av(index, first, 4)
        assert result.shape == (4, 48, 64, 3) and result.dtype == np.uint8
        for number, frame in enumerate(result):
            assert np.abs(frame.astype(int) - through[first + number]).mean() < 1  # 0 but for the deep one's rounding
            assert closest(frame, frames_of(24)) == first + number


@needs_decord
def test_decord_and_pyav_give_the_same_frames(video):
    index = index_video(video)
    assert is_plain(index) == (video.suffix in (".mp4", ".mkv") and "ten_bit" not in video.name)
    if not is_plain(index):
        assert np.array_equal(read_frames(video, 5, 3), read_with_av(index, 5, 3))
        return
    for first in (0, 5, 7, 11, 20):
        theirs, ours = read_with_decord(index, first, 4), read_with_av(index, first, 4)
        assert theirs is not None and theirs.shape == ours.shape
        assert np.abs(theirs.astype(int) - ours).mean() < 4  # their scaler interpolates chroma more coarsely
        assert [closest(f, frames_of(24)) for f in theirs] == [closest(f, frames_of(24)) for f in ours]
        assert np.array_equal(read_frames(video, first, 4), theirs)


def test_long_videos_are_not_read_whole_for_every_sample(videos, monkeypatch):
    index = index_video(videos / "a.mp4")
    assert is_plain(index)
    monkeypatch.setattr(clips, "SHORT_FRAMES", 23)
    assert not is_plain(index)


def test_without_decord_videos_are_read_all_the_same(videos, monkeypatch):
    monkeypatch.setattr(clips, "HAS_DECORD", False)
    assert np.array_equal(read_frames(videos / "a.mp4", 9, 3), read_with_av(index_video(videos / "a.mp4"), 9, 3))


def test_turned_and_damaged_and_foreign_videos(videos, tmp_path):
    with pytest.raises(MediaError, match="has 24 frames, wanted 22 to 25"):
        read_frames(videos / "a.mp4", 22, 4)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match="text"):
        read_frames(tmp_path / "text.mp4", 0, 1)
    code = bytearray((videos / "b.mkv").read_bytes())
    half = len(code) // 2
    code[half : half + 400] = bytes(400)
    (tmp_path / "hole.mkv").write_bytes(code)
    try:
        assert read_frames(tmp_path / "hole.mkv", 0, 24).shape[0] == 24
    except MediaError as error:
        assert "hole.mkv" in str(error)


def test_samples_from_videos(videos):
    config = DataConfig(clips=str(videos), frames=4, holdout=1, crop_px=32, mixture=LIGHT)
    assert list_videos(videos) == [videos / "a.mp4", videos / "b.mkv"]
    samples = open_samples(config, 0, 12)
    assert samples[0].high.shape == samples[0].low.shape == (4, 3, 32, 32) and samples[0].caption == "a bar walks"
    through = read_frames(videos / "a.mp4", 0, 24)
    starts, moving = set(), False
    for sample in samples:
        clip = to_images(sample.high, np.uint8)
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
    assert low.shape == high.shape == (3, 48, 64) and not rest
    single = open_samples(DataConfig(clips=str(videos), holdout=0, crop_px=32), 0, 1)[0]
    assert single.high.shape == (1, 3, 32, 32)


def test_short_small_and_broken_videos_are_named_and_passed_over(tmp_path, caplog):
    write_video(tmp_path / "good.mp4", [512 * n for n in range(6)])
    write_video(tmp_path / "short.mp4", [0, 512])
    write_video(tmp_path / "small.mp4", [512 * n for n in range(6)], size=(16, 64))
    (tmp_path / "broken.mp4").write_text("no video")
    config = DataConfig(clips=str(tmp_path), frames=3, holdout=0, crop_px=32, mixture=LIGHT)
    with caplog.at_level(logging.ERROR):
        assert len(list(open_samples(config, 0, 20))) == 20
    output = "\n".join(record.getMessage() for record in caplog.records)
    for words in ("short.mp4: has 2 frames", "small.mp4: 64 x 16 is smaller", "broken.mp4: not a video"):
        assert words in output


def test_images_and_videos_are_mixed_by_their_share(folder, videos):
    config = DataConfig(folder=str(folder), clips=str(videos), clip_share=0.3, holdout=0, crop_px=32)
    samples = open_samples(config, 0, 400)
    drawn = [samples.draw(1, np.random.default_rng((0, n)))[0].suffix for n in range(300)]
    assert sum(suffix != ".png" for suffix in drawn) / 300 == pytest.approx(0.3, abs=0.09)
