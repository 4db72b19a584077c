"""Segments made anywhere, in any order and by several processes, give the bits of one run."""

import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from image_core.errors import OutputError
from image_core.images import enlarge
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.encoding import Encoding
from osediff_video.farm.joining import assemble_job
from osediff_video.farm.planning import plan_job
from osediff_video.farm.stretch import make_stretch
from osediff_video.job.folder import Job, job_folder
from osediff_video.job.locks import StretchOfJob
from osediff_video.options import VideoOptions, parse_segments
from osediff_video.run import upscale_video
from osediff_video.temporal.blend import WARMUP_FRAMES
from tests.support.media_files import packets, write_video
from tests.support.tiny_lite import upscaler

SLOW = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
EXACT = Encoding("ffv1")
FRAMES, SEGMENT = 86, 25
"""The video has about 6 frames a second: four segments, the last of 11 frames."""


@pytest.fixture(scope="module")
def images():
    """A camera that moves over a wall, with a cut in the second segment and repeated images across a border."""
    draw = np.random.default_rng(0)
    walls = [enlarge(draw.integers(0, 256, (24, 32, 3), np.uint8), 96, 128) for _ in range(2)]
    frames = []
    for number in range(FRAMES):
        place = min(number, 46) + max(0, number - 51)  # 46 to 51 show the same
        frames.append(walls[number >= 31][place % 40 : place % 40 + 48, place % 60 : place % 60 + 64].copy())
    return frames


@pytest.fixture(scope="module")
def video(images, tmp_path_factory):
    times = [2048 * number + number % 3 for number in range(FRAMES)]
    return write_video(
        tmp_path_factory.mktemp("farm") / "in.mp4",
        times,
        images=images,
        options={"qp": "0", "preset": "ultrafast"},
        sound_from=Fraction(0),
    )


@pytest.fixture
def model(generator):
    """A fresh upscaler, as another process would load it."""
    return lambda: upscaler(generator, scale=2, color_fix="adain")


def everything(path):
    """Every packet of a file; its header has a random number."""
    return packets(path, "video"), packets(path, "audio")


def by_stretches(source, target, model, stretches, options, encoding=EXACT):
    planned = plan_job(source, target, model(), encoding, options)
    assert (planned.frames, planned.segments) == (FRAMES, 4)
    for words in stretches:
        make_stretch(source, target, model(), encoding, options, segments=parse_segments(words))
    return assemble_job(target)


@pytest.mark.parametrize("temporal", ["pixel", *(pytest.param(other, marks=SLOW) for other in ("latent", "off"))])
def test_stretches_in_any_order_give_the_file_of_one_run(video, model, tmp_path, temporal):
    options = VideoOptions(temporal=temporal)
    whole = upscale_video(video, tmp_path / "whole.mkv", model(), EXACT, options)
    joined = by_stretches(video, tmp_path / "joined.mkv", model, ["3", "1-2", "0"], options)
    assert joined.frames == whole.frames == FRAMES and joined.verification.ok
    assert everything(joined.target) == everything(whole.target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joined.mkv", "whole.mkv"]
    again = upscale_video(video, joined.target, model(), EXACT, options)
    assert again.already_finished


@pytest.mark.slow
def test_shots_by_number_are_counted_once(video, model, tmp_path):
    (tmp_path / "shots.toml").write_text("[[shot]]\nnumber = 2\nstrength = 0.3\n")
    options = VideoOptions(shots=str(tmp_path / "shots.toml"))
    whole = upscale_video(video, tmp_path / "whole.mkv", model(), EXACT, options)
    joined = by_stretches(video, tmp_path / "joined.mkv", model, ["2-3", "0-1"], options)
    assert everything(joined.target) == everything(whole.target)


def test_a_stretch_reads_no_more_than_its_warm_up(video, model, tmp_path, monkeypatch):
    from osediff_video.media.reading.frame_converter import FrameConverter

    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    seen, convert = [], FrameConverter.__call__
    monkeypatch.setattr(FrameConverter, "__call__", lambda self, *rest: seen.append(1) or convert(self, *rest))
    made = make_stretch(video, target, model(), EXACT, segments=range(2, 3))
    assert made.frames == SEGMENT
    # its frames, the warm-up, the bookmarked one, what a queue runs ahead
    assert len(seen) <= SEGMENT + WARMUP_FRAMES + 1 + 10


@pytest.mark.slow
def test_one_run_finishes_what_stretches_left(video, model, tmp_path):
    options, target = VideoOptions(), tmp_path / "out.mkv"
    whole = upscale_video(video, tmp_path / "whole.mkv", model(), EXACT, options)
    plan_job(video, target, model(), EXACT, options)
    make_stretch(video, target, model(), EXACT, options, segments=range(2, 3))
    result = upscale_video(video, target, model(), EXACT, options)
    assert result.resumed == SEGMENT and everything(target) == everything(whole.target)


def test_what_is_missing_or_damaged_is_named(video, model, tmp_path):
    target = tmp_path / "out.mkv"
    with pytest.raises(OutputError, match="holds no plan of this result; run osediff-video plan"):
        make_stretch(video, target, model(), EXACT, segments=range(1))
    with pytest.raises(OutputError, match="holds no planned job"):
        assemble_job(target)
    assert list(tmp_path.iterdir()) == []
    plan_job(video, target, model(), EXACT)
    with pytest.raises(OutputError, match="has segments 0-3, got 3-4"):
        make_stretch(video, target, model(), EXACT, segments=range(3, 5))
    make_stretch(video, target, model(), EXACT, segments=range(0, 3))
    file = job_folder(target) / "00001.mkv"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(OutputError, match="of 4 segments these are missing or damaged: 1, 3; make them"):
        assemble_job(target)
    make_stretch(video, target, model(), EXACT, segments=range(0, 4))
    assert assemble_job(target).frames == FRAMES


def test_a_segment_of_another_length_is_none_of_this_job(video, model, tmp_path):
    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    make_stretch(video, target, model(), EXACT, segments=range(4))
    record = job_folder(target) / "00002.json"
    values = read_sealed(record)
    write_sealed(record, {**values, "order": values["order"][:-1]})
    with pytest.raises(OutputError, match="missing or damaged: 2;"):
        assemble_job(target)


def test_a_plan_of_another_input_or_other_settings_is_refused(video, model, tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mkv"
    shutil.copy(video, source)
    plan_job(source, target, model(), EXACT)
    with pytest.raises(OutputError, match="other settings: temporal was pixel, is off"):
        make_stretch(source, target, model(), EXACT, VideoOptions(temporal="off"), segments=range(1))
    make_stretch(video, target, model(), EXACT, segments=range(4))  # a copy elsewhere is the same input
    write_video(source, [2048 * number for number in range(FRAMES)])
    for work in (
        lambda: make_stretch(source, target, model(), EXACT, segments=range(1)),
        lambda: assemble_job(target),
    ):
        with pytest.raises(OutputError, match="the input file changed"):
            work()
    assert assemble_job(target, source=video).frames == FRAMES


def test_two_runs_never_make_the_same_segments(video, model, tmp_path):
    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    other = StretchOfJob(job_folder(target), range(1, 3))
    other.acquire()
    with pytest.raises(OutputError, match="another run is making segments 1-2; wait for it"):
        make_stretch(video, target, model(), EXACT, segments=range(2, 4))
    with pytest.raises(OutputError, match="another run is making segments 1-2; wait for it"):
        upscale_video(video, target, model(), EXACT)
    make_stretch(video, target, model(), EXACT, segments=range(3, 4))
    other.release()
    make_stretch(video, target, model(), EXACT, segments=range(2, 4))


def test_no_stretch_begins_while_a_run_holds_the_job(video, model, tmp_path, monkeypatch):
    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    monkeypatch.setattr("osediff_video.job.locks.PATIENCE_S", 0.1)
    with Job(target, [video], None), pytest.raises(OutputError, match="another run is working on this result"):
        make_stretch(video, target, model(), EXACT, segments=range(1))


def test_another_torch_is_refused_unless_bits_may_differ(video, model, tmp_path, monkeypatch):
    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    monkeypatch.setattr("torch.__version__", "1.0")
    with pytest.raises(OutputError, match=r"torch was .*, is 1\.0"):
        make_stretch(video, target, model(), EXACT, segments=range(1))
    assert make_stretch(video, target, model(), EXACT, segments=range(1), mixed=True).frames == SEGMENT


def test_a_damaged_survey_is_no_plan(video, model, tmp_path):
    target = tmp_path / "out.mkv"
    plan_job(video, target, model(), EXACT)
    tones = job_folder(target) / "tones.npy"
    tones.write_bytes(tones.read_bytes()[:-1] + b"x")
    with pytest.raises(OutputError, match="holds no plan"):
        make_stretch(video, target, model(), EXACT, segments=range(1))


@pytest.mark.parametrize("words", ["", "a", "3-", "-3", "4-2", "1-2-3", "1,2"])
def test_words_that_name_no_segments_are_refused(words):
    with pytest.raises(ValueError, match="expected segments such as 0-14 or 7"):
        parse_segments(words)


@pytest.mark.slow
def test_two_plain_processes_and_assemble_give_the_packets_of_one(video, tmp_path):
    words = [str(video), "--scale", "2", "--color-fix", "adain", "--codec", "x264"]

    def start(*more):
        command = [sys.executable, "-m", "cli", *more]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})

    joined, whole = tmp_path / "joined.mp4", tmp_path / "whole.mp4"
    assert start("plan", *words, "-o", str(joined)).wait() == 0
    halves = [start("upscale", *words, "-o", str(joined), "--segments", part) for part in ("0-1", "2-3")]
    assert [half.wait() for half in halves] == [0, 0]
    assert start("assemble", str(joined)).wait() == 0
    assert start("upscale", *words, "-o", str(whole)).wait() == 0
    assert everything(joined) == everything(whole)
