"""One worker a core on a CPU: a video's bits depend neither on their number, nor on torch's threads or the batch."""

import os
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from image_core.device.gate import Gate
from image_core.device.workers import Crew, Workers, crew_for
from image_core.errors import NotFiniteError
from osediff_video import VideoOptions, load_upscaler, upscale_frames
from osediff_video.encoding import Encoding
from osediff_video.job.folder import job_folder
from osediff_video.run import upscale_video
from tests.image_core.test_upscale import Greedy
from tests.support.media_files import copy, packets, read, write_video
from tests.support.tiny_lite import random_generator, sample_images, upscaler
from tests.video.test_job_folder import LONG, LOSSLESS, RATE


@pytest.fixture
def threads():
    """Sets torch's threads, which are one in every other test."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


def test_a_video_has_the_same_bits_for_any_number_of_workers(threads):
    lite = load_upscaler("lite", device="cpu")
    frames = sample_images(7, 40, 56)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(list(upscale_frames(frames, model=lite)))
        assert torch.get_num_threads() == count and lite.workers.count == 1
    for other in results[1:]:
        assert all(np.array_equal(*pair) for pair in zip(results[0], other, strict=True))


@pytest.mark.parametrize("temporal", ["pixel", "latent"])
def test_a_video_has_the_same_bits_for_any_batch(threads, temporal):
    frames, results = sample_images(6, 24, 32), []
    for count, batch in ((1, None), (2, 3), (3, 1)):
        threads(count)
        model = upscaler(random_generator(), scale=2, color_fix="adain", batch=batch)
        results.append(list(upscale_frames(frames, model=model, video=VideoOptions(temporal=temporal))))
    for other in results[1:]:
        assert all(np.array_equal(*pair) for pair in zip(results[0], other, strict=True))


def test_workers_run_at_once_in_one_thread_each(threads):
    threads(3)
    workers, together = Workers(torch.device("cpu")), threading.Barrier(3, timeout=30)

    def work(number):
        together.wait()  # passes only when three are here
        return number, torch.get_num_threads()

    with workers.engaged(Crew(3, 1)), workers.engaged(Crew(1, 2)):
        calls = [workers.submit(partial(work, number)) for number in range(3)]
        assert [call.result() for call in calls] == [(0, 1), (1, 1), (2, 1)]
    assert not workers.is_active and torch.get_num_threads() == 3
    other = Workers(torch.device("meta"))
    with other.engaged(Crew(1, 3)):
        assert not other.is_active and torch.get_num_threads() == 3


def test_whoever_changes_how_all_compute_is_alone():
    gate, seen = Gate(), []
    gate.enter(2)
    gate.enter(2)

    def change():
        with gate.alone(), gate.alone():
            seen.append("change")

    def come_late():
        gate.enter(9)
        seen.append("late")

    changing = started(change)
    while not gate._waiting:
        time.sleep(0.001)
    late = started(come_late)
    gate.leave()
    late.join(0.1)
    assert seen == []  # one is still inside
    gate.leave()
    for thread in (changing, late):
        thread.join(10)
    assert seen == ["change", "late"]


def test_no_more_are_inside_than_there_is_room_for():
    gate = Gate()
    gate.enter(1)
    second = started(lambda: gate.enter(1))
    second.join(0.1)
    assert second.is_alive()
    gate.leave()
    second.join(10)
    assert not second.is_alive()


def started(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_done_does_not_wait_for_another(threads):
    threads(2)
    model, running, most = upscaler(random_generator(), scale=2), [], []
    plain = model.draft_batch

    def draft_batch(images, *rest):
        running.append(1)
        if images[0].mean() < 20:
            while len(most) < 3 and not time.sleep(0.01):  # one is slow until three others were made
                pass
        most.append(sum(running))
        return plain(images, *rest)

    model.draft_batch = draft_batch
    frames = [np.full((16, 24, 3), level, np.uint8) for level in (0, 90, 110, 130, 150, 170, 190, 210)]
    results = list(upscale_frames(frames, model=model, video=VideoOptions(temporal="off", cuts="off")))
    assert len(results) == len(frames) and len(running) == len(frames)
    means = [result.mean() for result in results]
    assert means == sorted(means)


def test_workers_share_cores_that_memory_would_leave_idle():
    assert crew_for(8, 100) == crew_for(8, 8) == Crew(8, 1) and crew_for(8, 5) == Crew(5, 1)
    assert crew_for(8, 4) == Crew(4, 2) and crew_for(8, 1) == crew_for(8, 0) == Crew(1, 8)
    assert crew_for(8, 100, threads=2) == Crew(4, 2) and crew_for(2, 100, threads=8) == Crew(1, 8)


def test_memory_bounds_how_many_work_at_once(threads, monkeypatch):
    monkeypatch.setattr("image_core.device.memory.free_bytes", lambda _: 600 * 2.5 * 48 * 64 / 0.6)
    threads(4)
    model = upscaler(random_generator(), scale=2)
    with model.workers.engaged(Crew(4, 1)):
        assert model.workload_for(48, 64).batch == 2 and model.workload_for(24, 32).batch == 4
        assert model.workload_for(96, 128).batch == 1 and model.workload_for(96, 128).tile_px
    assert model.workload_for(48, 64).batch == 1
    assert model.crew_for(24, 32) == Crew(4, 1) and model.crew_for(48, 64) == Crew(2, 2)


def test_a_shortage_among_workers_steps_down(threads):
    frames, output, results = sample_images(3, 96, 128), [], []
    for count in (1, 2):
        threads(count)
        model = upscaler(random_generator(), scale=4)
        model.generator, model.report = Greedy(model.generator, 300 * 300, MemoryError("no memory")), output.append
        results.append(list(upscale_frames(frames, model=model, video=VideoOptions(temporal="off"))))
    assert all(np.array_equal(*pair) for pair in zip(*results, strict=True))
    assert any("out of memory" in sentence for sentence in output)


def test_one_image_that_is_no_number_changes_no_other(threads):
    threads(2)
    model = upscaler(random_generator(), scale=2)
    images = sample_images(4, 16, 24)
    with model.workers.engaged(Crew(2, 1)):
        expected = model(images)
    plain, tries = model.draft_batch, []

    def draft_batch(images, *rest):
        if np.array_equal(images[0], bad):
            tries.append(1)
            raise NotFiniteError(0)
        return plain(images, *rest)

    bad = images[3]
    model.draft_batch = draft_batch
    with model.workers.engaged(Crew(2, 1)), pytest.raises(NotFiniteError) as caught:
        model(images)
    assert caught.value.index == 3 and tries
    model.draft_batch = plain
    with model.workers.engaged(Crew(2, 1)):
        assert all(np.array_equal(*pair) for pair in zip(expected, model(images), strict=True))


def test_a_job_goes_on_with_other_threads_to_the_same_bits(threads, tmp_path):
    source = write_video(tmp_path / "in.mkv", LONG[:45], codec="ffv1", pix_fmt="bgr0", tags=None, size=(24, 32),
                         rate=RATE)  # fmt: skip

    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.frames >= 35:
            raise StoppedError

    threads(1)
    upscale_video(source, tmp_path / "whole.mkv", upscaler(random_generator(), scale=2), LOSSLESS)
    with pytest.raises(StoppedError):
        upscale_video(source, tmp_path / "out.mkv", upscaler(random_generator(), scale=2), LOSSLESS, progress=stop)
    assert job_folder(tmp_path / "out.mkv").is_dir()
    threads(3)
    result = upscale_video(source, tmp_path / "out.mkv", upscaler(random_generator(), scale=2), LOSSLESS)
    assert result.resumed
    for one, other in zip(read(tmp_path / "out.mkv"), read(tmp_path / "whole.mkv"), strict=True):
        assert np.array_equal(one.image, other.image)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process cannot be kept to some cores here")
@pytest.mark.parametrize("codec", ["x264", "x265"])
def test_an_encoder_writes_the_same_bits_on_any_number_of_cores(tmp_path, codec):
    cores, files = os.sched_getaffinity(0), []
    if len(cores) < 2:
        pytest.skip("one core")
    source = write_video(tmp_path / "in.mkv", [512 * number for number in range(10)], size=(240, 320))
    try:
        for count in (1, len(cores)):
            os.sched_setaffinity(0, sorted(cores)[:count])
            copy(source, tmp_path / f"{count}.mkv", Encoding(codec, preset="superfast"), size="640x480")
            files.append(packets(tmp_path / f"{count}.mkv", "video"))
    finally:
        os.sched_setaffinity(0, cores)
    assert files[0] == files[1]
