"""`--realtime`: every frame keeps its place and time; how it was made follows from the time there was, and is said."""

import time
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import cli
from image_core.upscaler import Upscaler
from osediff_video import OutputError, VideoOptions, upscale, upscale_frames
from osediff_video.shots import in_time
from osediff_video.shots.in_time import ASKED, FAST, RESIZED, Clock, InTime, Pace
from osediff_video.types import Frame
from tests.commands.test_cli import run
from tests.support.media_files import read, read_times, sample_image, write_video
from tests.support.tiny_lite import sample_images

TIMES = [0, 40, 90, 130, 130 + 40]


class Time:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def due_times(arrivals, asks, interval=1.0):
    """When frames of one a second are due that are asked for, and come, at these times."""
    time, result = Time(), []
    clock = Clock(time)

    def live():
        for position, came in enumerate(arrivals):
            time.seconds = max(time.seconds, came)
            yield Frame(np.zeros((1, 1, 3), np.uint8), position)

    frames = clock.arriving(live(), Fraction(interval))
    for position, asked in enumerate(asks):
        time.seconds = max(time.seconds, asked)
        next(frames)
        result.append(clock.due(position))
    return result


def test_a_live_frame_is_due_when_it_comes_or_should_have_been_asked_for():
    assert due_times([5, 6, 7.2, 8.1], [0, 5, 6, 7.2]) == [5, 6, 7.2, 8.2]  # as it comes, no sooner than its turn
    assert due_times([5, 6, 9, 10], [0, 5, 6, 9]) == [5, 6, 9, 10]  # the source paused
    assert due_times([5, 6, 7, 8], [0, 8, 8, 8]) == [5, 6, 7, 8]  # nobody asked: the wait is the program's
    assert due_times([0, 0, 0], [0, 0, 0]) == [0, 1, 2]  # a file gives all at once, and plays at its rate


def test_lateness_is_measured_where_frames_leave():
    time = Time()
    clock = Clock(time)
    frames = clock.arriving((Frame(np.zeros((1, 1, 3), np.uint8), n) for n in range(2)), Fraction(1))
    for position, (drafted, written) in enumerate([(0.25, 0.5), (1.5, 2.75)]):
        next(frames)
        time.seconds = drafted
        clock.drafted(position)
        time.seconds = written
        clock.written(position)
    assert clock.latest_s == 1.75 and clock.behind_s == pytest.approx(0.8 * 0.25 + 0.2 * 1.25)


def pace(asked=0.05, fast=0.02, workers=1, interval_s=0.1):
    return Pace(0.5, workers, {ASKED: asked, FAST: fast, RESIZED: 0.0}, interval_s)


def test_it_begins_with_the_best_way_that_lasts():
    assert [pace(a, f).way for a, f in ((0.05, 0.02), (0.2, 0.02), (0.2, 0.15))] == [ASKED, FAST, RESIZED]
    assert pace(0.15, 0.1, workers=2).way == ASKED  # two frames at once
    without = Pace(0.5, 1, {ASKED: 0.2, RESIZED: 0.0}, 0.1)
    assert without.way == RESIZED


def test_a_way_is_left_at_once_and_taken_up_after_a_calm_second():
    live = pace()
    assert live.choose(0.0, 0.5, 0) == ASKED
    assert live.choose(0.1, 0.04, 0) == FAST  # 0.05 s do not fit
    assert live.choose(0.2, 0.01, 0) == RESIZED
    assert live.choose(0.3, -5, 0) == RESIZED  # whatever it takes
    ways = [live.choose(1 + n / 10, 0.5, 0) for n in range(12)]
    assert ways == [RESIZED] * 10 + [ASKED] * 2 and live.changes == 3
    assert live.made == {ASKED: 3, FAST: 1, RESIZED: 11 + 1}


def test_calm_that_is_broken_begins_anew():
    live = pace()
    live.choose(0.0, -1, 0)
    left = [0.5] * 8 + [-1] + [0.5] * 12
    ways = [live.choose(0.1 * n, time_left, 0) for n, time_left in enumerate(left, 1)]
    assert ways == [RESIZED] * 19 + [ASKED] * 2


def test_frames_that_wait_count_and_what_they_took_is_learnt():
    live = pace(workers=2)
    assert live.choose(0.0, 0.06, 1) == ASKED and live.choose(0.0, 0.06, 3) == FAST
    learnt = pace()
    for _ in range(30):
        learnt.took(ASKED, 0.4, waiting=1)  # it waited for one: 0.2 s each
    assert learnt.costs[ASKED] == pytest.approx(0.2, rel=0.01) and not learnt.lasts(ASKED)
    learnt.way = RESIZED
    for n in range(800):  # the machine may be free again: it is tried after a while
        learnt.choose(n / 10, 0.5, 0)
    assert learnt.way == ASKED


def piped(source, *words):
    outcome = CliRunner().invoke(cli, ["upscale", "-", "-o", "-", *words], input=source.read_bytes())
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    images = [sample_image(n, 24, 32) for n in range(len(TIMES))]
    path = tmp_path_factory.mktemp("live") / "in.mkv"
    return write_video(path, TIMES, time_base=Fraction(1, 1000), codec="ffv1", size=(24, 32), images=images)


def images_of(outcome, path):
    path.write_bytes(outcome.stdout_bytes)
    return [frame.image for frame in read(path)], read_times(path)


@pytest.mark.parametrize("way", ["as asked", "without the UNet", "plainly resized"])
def test_frames_keep_place_and_time_and_are_made_as_is_said(way, source, tmp_path, monkeypatch):
    slow = {"as asked": (), "without the UNet": ("asked",), "plainly resized": ("asked", "fast")}[way]

    def cost_of(upscaler, *_):
        return 99.0 if ("fast" if upscaler.options.fast else "asked") in slow else 0.0

    monkeypatch.setattr(in_time, "cost_of", cost_of)
    words = ["--model", "lite", "--scale", "2", "--pipe-format", "nut"]
    outcome = piped(source, *words, "--realtime", "--latency", "60")
    images, times = images_of(outcome, tmp_path / "out.nut")
    assert times == read_times(source)
    counts = f"0 frames as asked, {len(TIMES)} {way}" if slow else f"{len(TIMES)} frames as asked"
    assert f"real time: {counts}; 0 changes, at most " in outcome.stderr
    if way == "plainly resized":  # but for the colours of the encoder
        expected = [cv2.resize(frame.image, (64, 48), interpolation=cv2.INTER_CUBIC) for frame in read(source)]
        assert all(np.abs(a.astype(int) - b).mean() < 1.5 for a, b in zip(images, expected, strict=True))
        return
    plain = piped(source, *words, *(["--fast"] if slow else []))
    expected, _ = images_of(plain, tmp_path / "plain.nut")
    assert all(np.array_equal(*pair) for pair in zip(images, expected, strict=True))


def test_a_frame_that_is_not_ready_when_it_must_be_is_resized(source, tmp_path, monkeypatch):
    """The model turns out to be slow: nobody waits for it."""
    slow = Upscaler.draft_batch

    def draft_batch(*given):
        time.sleep(1.5)
        return slow(*given)

    monkeypatch.setattr(in_time, "cost_of", lambda *_: 0.0)
    monkeypatch.setattr(Upscaler, "draft_batch", draft_batch)
    outcome = piped(source, "--model", "lite", "--scale", "2", "--realtime", "--latency", "0.1")
    images, times = images_of(outcome, tmp_path / "out.mkv")
    assert times == read_times(source)
    assert f"0 frames as asked, {len(TIMES)} plainly resized; 1 changes" in outcome.stderr
    expected = [cv2.resize(frame.image, (64, 48), interpolation=cv2.INTER_CUBIC) for frame in read(source)]
    assert all(np.abs(a.astype(int) - b).mean() < 1.5 for a, b in zip(images, expected, strict=True))
    assert float(outcome.stderr.split("at most ")[1].split(" s late")[0]) < 1.4


def test_a_machine_that_is_too_slow_says_so_and_still_gives_every_frame(source, tmp_path, monkeypatch):
    """What it measured first does not hold: frames are late until it has learnt, and then are resized."""
    monkeypatch.setattr(in_time, "cost_of", lambda *_: 0.0)
    outcome = piped(source, "--model", "lite", "--scale", "4", "--realtime", "--latency", "0.05")
    images, times = images_of(outcome, tmp_path / "out.mkv")
    assert times == read_times(source) and len(images) == len(TIMES)
    line = next(line for line in outcome.stderr.splitlines() if line.startswith("real time:"))
    assert sum(int(word) for word in line.split(";")[0].replace(",", "").split() if word.isdigit()) == len(TIMES)


def test_what_is_said():
    summary = InTime(3, 0, 2, 1, 0.256)
    assert str(summary) == "real time: 3 frames as asked, 2 plainly resized; 1 changes, at most 0.26 s late"
    assert "4 without the UNet" in str(replace(summary, fast=4))


def test_real_time_is_for_pipes(source, tmp_path):
    with pytest.raises(OutputError, match=r"out.mkv: a file can wait"):
        upscale(source, tmp_path / "out.mkv", model="lite", video=VideoOptions(realtime=True))
    assert not (tmp_path / "out.mkv").exists()
    assert "a file can wait" in run("upscale", source, "-o", tmp_path / "out.mkv", "--realtime", code=1)
    with pytest.raises(ValueError, match="frames in memory can wait"):
        upscale_frames(sample_images(1, 16, 16), model="lite", video=VideoOptions(realtime=True))
    for wrong in ({"temporal": "latent"}, {"uncertainty": "maps"}):
        with pytest.raises(ValueError, match="realtime has no time for"):
            VideoOptions(realtime=True, **wrong)
    with pytest.raises(ValueError, match="does nothing without realtime"):
        VideoOptions(latency_s=2.0)
    with pytest.raises(ValueError, match="latency_s must be from"):
        VideoOptions(realtime=True, latency_s=0.0)
