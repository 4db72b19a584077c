"""The queue of the page: nothing is lost by a pause, a restart, a replaced file or two hands on one request."""

import threading
import time
from dataclasses import replace
from functools import partial

import pytest

from osediff_video import MediaError, OutputError, Progress
from osediff_video.job.folder import job_folder
from osediff_video.plain_resize import PlainResize
from page.queue import Queue
from page.request import Request
from page.work import Outcome, carry_out
from tests.support.media_files import read_times, write_video

PLAIN = partial(carry_out, model=PlainResize(1.0))


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "in.mkv", [512 * n for n in range(130)], size=(16, 24))


@pytest.fixture
def request_of(video, tmp_path):
    return Request(str(video), str(tmp_path / "out.mkv"), size="x1", steadiness=0, crf=30)


def until(condition, limit_s=20):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def state(queue, number=1):
    return next((entry.state for entry in queue.listed() if entry.number == number), None)


class Gate:
    """Work that waits at a frame until it is let through."""

    def __init__(self, frame=110):
        self.frame, self.reached, self.open = frame, threading.Event(), threading.Event()

    def __call__(self, request, progress):
        def held(now):
            if now.frames == self.frame:
                self.reached.set()
                assert self.open.wait(20)
            progress(now)

        return PLAIN(request, held)


def test_a_request_is_carried_out_and_verified(tmp_path, request_of):
    with Queue(tmp_path / "queue", PLAIN) as queue:
        entry = queue.add(request_of)
        until(lambda: state(queue) == "done")
        assert entry.ok and any("verified: 130 of 130 frames" in line for line in entry.lines)
    assert len(read_times(tmp_path / "out.mkv")) == 130 and not job_folder(tmp_path / "out.mkv").exists()


def test_paused_work_is_kept_over_a_restart_and_resumed(tmp_path, request_of):
    gate = Gate()
    with Queue(tmp_path / "queue", gate) as queue:
        queue.add(request_of)
        assert gate.reached.wait(20)
        queue.pause(1)
        queue.pause(1)  # of another page
        gate.open.set()
        until(lambda: queue.running is None)
        (entry,) = queue.listed()
        assert (entry.state, entry.frames) == ("paused", 100) and job_folder(tmp_path / "out.mkv").is_dir()
    with Queue(tmp_path / "queue", PLAIN) as queue:
        (entry,) = queue.listed()
        assert (entry.state, entry.frames) == ("paused", 100)
        queue.resume(1)
        until(lambda: state(queue) == "done")
        assert "130 frames, 30 of them made" in queue.listed()[0].lines[0]


def test_what_ran_when_the_program_ended_goes_on_at_the_next_start(tmp_path, request_of):
    gate = Gate()
    gate.open.set()
    with Queue(tmp_path / "queue", gate) as queue:
        queue.add(request_of)
        assert gate.reached.wait(20)
    with Queue(tmp_path / "queue", PLAIN) as queue:
        until(lambda: state(queue) == "done")
        assert "30 of them made" in queue.listed()[0].lines[0]
    with Queue(tmp_path / "queue", PLAIN) as queue:
        assert state(queue) == "done"
        queue.remove(1)
    assert not Queue(tmp_path / "queue", PLAIN).entries and (tmp_path / "out.mkv").is_file()


def test_a_cancelled_request_leaves_nothing_behind_and_touches_nothing_else(tmp_path, request_of, video):
    gate, before = Gate(), video.read_bytes()
    with Queue(tmp_path / "queue", gate) as queue:
        queue.add(request_of)
        assert gate.reached.wait(20)
        queue.remove(1)
        queue.remove(1)
        gate.open.set()
        until(lambda: queue.running is None)
        until(lambda: not job_folder(tmp_path / "out.mkv").exists())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "queue"] and video.read_bytes() == before


def test_a_cancelled_request_that_never_began_discards_no_work_of_others(tmp_path, request_of):
    theirs = job_folder(tmp_path / "out.mkv")
    theirs.mkdir()
    (theirs / "manifest.json").write_text("{}")
    with Queue(tmp_path / "queue", PLAIN) as queue:
        queue.add(request_of)
        until(lambda: state(queue) == "failed")
        assert "damaged or was written by another version" in queue.listed()[0].lines[0]
        queue.remove(1)
    assert (theirs / "manifest.json").read_text() == "{}"


def test_a_file_replaced_while_queued_is_not_worked_on(tmp_path, request_of, video):
    queue = Queue(tmp_path / "queue", PLAIN)
    queue.add(request_of)
    write_video(video, [512 * n for n in range(5)], size=(16, 24))
    with queue:
        until(lambda: state(queue) == "failed")
        assert "changed after it was queued" in queue.listed()[0].lines[0] and not (tmp_path / "out.mkv").exists()
        queue.resume(1)  # now it is the new file that is meant
        until(lambda: state(queue) == "done")
    assert len(read_times(tmp_path / "out.mkv")) == 5


def test_one_failure_does_not_stop_the_others(tmp_path, request_of, capsys):
    def work(request, progress):
        if request.target.endswith("bad.mkv"):
            raise ZeroDivisionError("surprise")
        return PLAIN(request, progress)

    with Queue(tmp_path / "queue", work) as queue:
        queue.add(replace(request_of, target=str(tmp_path / "bad.mkv")))
        queue.add(request_of)
        until(lambda: state(queue, 2) == "done")
        assert state(queue, 1) == "failed" and queue.listed()[0].lines == ("ZeroDivisionError: surprise",)
    assert "surprise" in capsys.readouterr().err


def test_twice_the_same_result_a_missing_source_and_a_second_program_are_refused(tmp_path, request_of):
    queue = Queue(tmp_path / "queue", PLAIN)
    queue.add(request_of)
    with pytest.raises(OutputError, match="in the queue already"):
        queue.add(request_of)
    with pytest.raises(MediaError, match="no such file"):
        queue.add(replace(request_of, source=str(tmp_path / "none.mkv"), target="other"))
    with pytest.raises(OutputError, match="runs already"):
        Queue(tmp_path / "queue", PLAIN)
    (tmp_path / "queue" / "000009.json").write_text("{damaged")
    queue.lock.release()
    assert [entry.number for entry in Queue(tmp_path / "queue", PLAIN).listed()] == [1]


def test_work_waits_while_a_preview_has_the_machine(tmp_path, request_of):
    frames = []

    def work(_, progress):
        for frame in range(1, 50):
            progress(Progress(frame, 50, 1.0))
            frames.append(frame)
            time.sleep(0.01)
        return Outcome(True, ())

    with Queue(tmp_path / "queue", work) as queue:
        queue.add(request_of)
        until(lambda: len(frames) > 2)
        with queue.held():
            time.sleep(0.1)
            seen = len(frames)
            time.sleep(0.2)
            assert len(frames) == seen < 49
        until(lambda: state(queue) == "done")
