"""What may be wrong with a machine of a real Ray cluster: its disk, its speed, its versions, its memory."""

import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import psutil
import pytest

from osediff_video.farm.board import BAD_NODE, MOST_ON_A_NODE
from osediff_video.farm.worker import CHUNK_BYTES
from tests.farm.test_stretches import everything
from tests.support.media_files import sample_image, write_video
from tests.support.ray_nodes import (
    PATIENCE_S,
    ROOT,
    STORE_BYTES,
    cluster,
    end,
    finished,
    on_cluster,
    pretend,
    said,
    upscale,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HEIGHT, WIDTH, SEGMENT = 48, 64, 25


@pytest.fixture(autouse=True, scope="module")
def _ray():
    pytest.importorskip("ray", reason="needs ray: pip install '.[cluster]'")


@pytest.fixture(scope="module")
def both():
    """A cluster with two nodes, which all tests share."""
    with cluster() as nodes:
        nodes.join("good")
        nodes.join("second")
        yield nodes


@pytest.fixture
def nodes(both):
    """The cluster; what a test lets join leaves it afterwards."""
    yield both
    for name in both.roots.keys() - {"head", "good", "second"}:
        both.leave(name)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Eight segments, the first of noise, which takes more room than the others."""
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(SEGMENT)]
    images += [np.full_like(sample_image(number, HEIGHT, WIDTH), number) for number in range(7 * SEGMENT)]
    times = [2048 * number for number in range(len(images))]
    return write_video(tmp_path_factory.mktemp("film") / "in.mp4", times, images=images, sound_from=Fraction(0))


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory):
    target = tmp_path_factory.mktemp("whole") / "whole.mkv"
    end(upscale(video, target))
    return everything(target)


@contextmanager
def small_disk(folder, size):
    """A disk of a few bytes; skips where nothing can be mounted."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def suspended(nodes, name, driver):
    """Stop the worker of a node as soon as it is there; returns it."""
    wait_until(lambda: nodes.workers(name), driver)
    [worker] = nodes.workers(name)
    worker.suspend()
    return worker


def test_a_node_with_a_full_disk_gets_no_more_work(nodes, video, whole, tmp_path):
    with small_disk(tmp_path / "disk", "16k") as disk:
        nodes.join("full", TMPDIR=str(disk))
        lines = end(upscale(video, tmp_path / "a.mkv", *on_cluster(nodes)))
        nodes.leave("full")  # nothing may be open on the disk
    assert everything(tmp_path / "a.mkv") == whole
    assert lines.count("No space left on device") == BAD_NODE
    assert lines.count("gets no more work, since everything fails there") == 1


def test_a_segment_that_fails_twice_on_a_node_is_made_by_another(nodes, video, whole, tmp_path):
    """A node on which files may not grow so large that the first segment fits; all others do."""
    driver = upscale(video, tmp_path / "a.mkv", *on_cluster(nodes))
    good = suspended(nodes, "good", driver)
    wait_until(lambda: nodes.workers("second"), driver)
    [small] = nodes.workers("second")
    small.rlimit(psutil.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    wait_until(lambda: said(driver).count("File too large") == MOST_ON_A_NODE, driver)
    wait_until(lambda: finished(tmp_path / "a.mkv") == 7, driver)
    good.resume()
    lines = end(driver)
    assert everything(tmp_path / "a.mkv") == whole
    assert lines.count("File too large") == MOST_ON_A_NODE and "gets no more work" not in lines


def test_a_segment_on_a_node_that_hangs_is_made_by_another(nodes, video, whole, tmp_path):
    driver = upscale(video, tmp_path / "a.mkv", *on_cluster(nodes))
    good = suspended(nodes, "good", driver)
    wait_until(lambda: finished(tmp_path / "a.mkv"), driver)
    [slow] = nodes.workers("second")
    slow.suspend()
    good.resume()
    end(driver)
    assert everything(tmp_path / "a.mkv") == whole
    _, alive = psutil.wait_procs([slow], timeout=60)  # it has never gone on
    assert not alive


def test_nodes_with_other_versions_are_named_and_left_out(nodes, video, whole, tmp_path):
    """Another torch, another state of this program, none of it at all; another number of threads is no difference."""
    for package in ("image_core", "osediff_video"):
        shutil.copytree(ROOT / package, tmp_path / "other" / package, ignore=shutil.ignore_patterns("weights"))
    (tmp_path / "other" / "image_core" / "weights").symlink_to(ROOT / "image_core" / "weights")
    with (tmp_path / "other" / "osediff_video" / "queues.py").open("a") as file:
        file.write("# another state\n")
    (tmp_path / "none" / "osediff_video").mkdir(parents=True)
    (tmp_path / "none" / "osediff_video" / "__init__.py").write_text("raise ImportError('it is not installed')\n")
    torch = pretend(tmp_path / "torch", "torch.version", "torch/version.py", __version__="1.0.0")
    nodes.join("torch", PYTHONPATH=torch)
    nodes.join("other", PYTHONPATH=str(tmp_path / "other"))
    nodes.join("none", PYTHONPATH=str(tmp_path / "none"))
    nodes.join("threads", OMP_NUM_THREADS="3")
    driver = upscale(video, tmp_path / "a.mkv", *on_cluster(nodes), cwd=tmp_path)
    fit = [suspended(nodes, name, driver) for name in ("good", "second", "threads")]
    wait_until(lambda: said(driver).count("left out") == 2 and "no more workers begin there" in said(driver), driver)
    for worker in fit:
        worker.resume()
    lines = end(driver)
    assert everything(tmp_path / "a.mkv") == whole
    assert lines.count("left out: bits would differ: torch is 1.0.0, not") == 1 == lines.count("would differ")
    assert lines.count("left out: this program is") == 1 and "it is not installed" in lines and "Traceback" not in lines
    lines = end(upscale(video, tmp_path / "b.mkv", *on_cluster(nodes, "--allow-mixed"), cwd=tmp_path))
    assert "left out: " not in lines and everything(tmp_path / "b.mkv") == whole  # which they only pretended


def test_a_command_with_another_ray_than_the_cluster_says_so_in_one_line(nodes, video, tmp_path):
    path = pretend(tmp_path / "ray", "ray._version", "ray/_version.py", version="2.0.0")
    driver = upscale(video, tmp_path / "a.mkv", *on_cluster(nodes), PYTHONPATH=path)
    assert driver.wait(timeout=PATIENCE_S) == 1
    [line] = said(driver).splitlines()
    assert "Version mismatch" in line and "Ray: 2.0.0" in line and "same version of Ray" in line


def test_a_segment_larger_than_the_memory_for_objects_passes_through_it(nodes, tmp_path):
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (180, 320, 3), np.uint8) for _ in range(50)]
    times = [1024 * number for number in range(50)]  # four seconds: one segment
    video = write_video(tmp_path / "in.mkv", times, images=images, size=(180, 320))
    target, seen = tmp_path / "a.mkv", []
    driver = upscale(video, target, *on_cluster(nodes), "--scale", "6")
    while driver.poll() is None:
        seen.append(max(nodes.store_bytes(name) for name in nodes.roots))
        assert not nodes.spilled()
        time.sleep(0.1)
    end(driver)
    assert target.stat().st_size > STORE_BYTES  # a video of one segment
    assert CHUNK_BYTES < max(seen) <= STORE_BYTES  # Ray frees what was taken a second later, if there is room


def test_two_commands_on_one_job_and_a_job_of_another_input(nodes, video, whole, tmp_path):
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, *on_cluster(nodes))
    wait_until(lambda: finished(target), driver)
    second = upscale(video, target, "--workers", "1")
    assert second.wait(timeout=PATIENCE_S) == 1 and "Traceback" not in said(second), said(second)
    os.kill(driver.pid, signal.SIGINT)
    driver.wait(timeout=PATIENCE_S)
    other = write_video(tmp_path / "other.mp4", [2048 * number for number in range(60)])
    third = upscale(other, target, *on_cluster(nodes))
    # of a job that was stopped, and of one that was quicker than the second command
    reasons = ("the input file changed", "made of another source")
    assert third.wait(timeout=PATIENCE_S) == 1 and any(reason in said(third) for reason in reasons), said(third)
    end(upscale(video, target, *on_cluster(nodes)))
    assert everything(target) == whole
