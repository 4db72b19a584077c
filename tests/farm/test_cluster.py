"""Real workers on a real Ray cluster of several node processes on this machine, and the loss of each of them."""

import signal
from fractions import Fraction

import psutil
import pytest

from tests.farm.test_stretches import everything
from tests.support.media_files import write_video
from tests.support.ray_nodes import cluster, end, finished, on_cluster, said, upscale, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True, scope="module")
def _ray():
    pytest.importorskip("ray", reason="needs ray: pip install '.[cluster]'")


@pytest.fixture
def nodes():
    with cluster() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Twenty segments, so that the work is not over before the last node has loaded the model."""
    times = [2048 * number for number in range(500)]
    return write_video(tmp_path_factory.mktemp("film") / "in.mp4", times, sound_from=Fraction(0))


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory):
    target = tmp_path_factory.mktemp("whole") / "whole.mkv"
    end(upscale(video, target))
    return everything(target)


def test_two_workers_on_this_machine(video, whole, tmp_path):
    end(upscale(video, tmp_path / "a.mkv", "--workers", "2"))
    assert everything(tmp_path / "a.mkv") == whole


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_driver_leaves_no_process_and_resumes(sent, video, whole, tmp_path):
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, "--workers", "2")
    wait_until(lambda: finished(target), driver)
    below = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(sent)
    driver.wait(timeout=60)
    assert driver.returncode != 0 and not target.exists()
    _, alive = psutil.wait_procs(below, timeout=90)
    assert not alive, [process.cmdline() for process in alive]
    again = end(upscale(video, target, "--workers", "2"))
    assert "from an earlier run" in again and everything(target) == whole


def test_a_killed_worker_and_a_killed_node(nodes, video, whole, tmp_path):
    nodes.join("a")
    nodes.join("b")
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, *on_cluster(nodes))
    wait_until(lambda: nodes.workers("a") and nodes.workers("b") and finished(target), driver)
    for worker in nodes.workers("a"):
        worker.kill()
    nodes.kill("b")
    assert "lost" in end(driver) and everything(target) == whole


def test_a_node_that_joins_late_takes_part_and_another_processor_does_not(nodes, video, tmp_path):
    larger = ["--scale", "5"]  # long enough for a node to start and load the model meanwhile
    nodes.join("a")
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, *larger, *on_cluster(nodes, "--ship-input"))
    wait_until(lambda: nodes.workers("a"), driver)
    nodes.join("old", ATEN_CPU_CAPABILITY="default")
    nodes.join("late")
    wait_until(lambda: nodes.workers("late"), driver)
    assert "left out: bits would differ: processor is DEFAULT" in end(driver)
    end(upscale(video, tmp_path / "whole.mkv", *larger))
    assert everything(target) == everything(tmp_path / "whole.mkv")


def test_no_cluster_is_one_clear_line(video, tmp_path):
    process = upscale(video, tmp_path / "a.mkv", "--cluster", "127.0.0.1:9")
    assert process.wait(timeout=60) == 1
    assert "no cluster answers there" in said(process) and "Traceback" not in said(process)
