"""Real workers on a real Ray cluster of several node processes on this machine, and what befalls them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from tests.farm.test_stretches import everything
from tests.support.media_files import write_video

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True, scope="module")
def _ray():
    pytest.importorskip("ray", reason="needs ray: pip install '.[cluster]'")


ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
ENVIRONMENT |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
WORDS = ["--scale", "2", "--temporal", "off", "--codec", "ffv1", "--device", "cpu"]
SMALL = ["--object-store-memory", str(80 << 20), "--disable-usage-stats", "--include-dashboard=false"]
PATIENCE_S = 400


def words_of(process):
    """The command line of a process, which may be ending."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


class Nodes:
    """A cluster on loopback addresses. Every node is a `ray start` of its own, which can be killed as a machine can."""

    def __init__(self, folder):
        self.folder, self.roots = folder, {}
        self.port = 20000 + os.getpid() % 20000
        self.address = f"127.0.0.1:{self.port}"
        self.start("head", "--head", "--node-ip-address=127.0.0.1", f"--port={self.port}", "--num-cpus=0")

    def start(self, name, *words, environment=None):
        """Start a node that stays in the foreground of a process group of its own."""
        self.roots[name] = subprocess.Popen(
            [
                *RAY,
                "start",
                "--block",
                f"--temp-dir={self.folder / 'ray'}",
                *(SMALL if name == "head" else SMALL[:3]),
                *words,
            ],
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"{name}.log").open("wb"),
        )

    def join(self, name, **environment):
        """Start a node for one worker, and wait for it: those that start at once take each other's ports."""
        words = f"--address={self.address}", "--node-ip-address=127.0.0.1", "--num-cpus=1"
        self.start(name, *words, environment=environment)
        wait_until(lambda: sum("raylet" in words_of(one) for one in self.below(name)), self.roots[name])
        time.sleep(10)

    def below(self, name):
        root = psutil.Process(self.roots[name].pid)
        return [root, *root.children(recursive=True)]

    def workers(self, name):
        return [one for one in self.below(name) if "ray::OnNode" in words_of(one)]

    def kill(self, name):
        """Take the power from a node: every process of it at once."""
        for process in reversed(self.below(name)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.roots.pop(name).wait()

    def stop(self):
        for name in list(self.roots):
            self.kill(name)


@pytest.fixture
def nodes():
    # Ray's sockets have long names: a folder of pytest would be too deep for them
    import tempfile

    with tempfile.TemporaryDirectory(prefix="farm", ignore_cleanup_errors=True) as folder:
        nodes = Nodes(Path(folder))
        yield nodes
        nodes.stop()


def upscale(source, target, *words):
    """Start the command; its lines come on standard error."""
    command = [sys.executable, "-m", "cli", "upscale", str(source), "-o", str(target), *WORDS, *words]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it would be ignored
    )


def wait_until(condition, process=None):
    """Wait for a condition; fails when the process ends before it holds."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def finished(target):
    folder = target.with_name(target.name + ".osediff")
    return len(list(folder.glob("0*.json"))) if folder.is_dir() else 0


def end(process):
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said


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


def on_cluster(nodes, *words):
    return ["--cluster", nodes.address, "--worker-cores", "1", *words]


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
    driver.communicate(timeout=60)
    assert driver.returncode != 0 and not target.exists()
    _, alive = psutil.wait_procs(below, timeout=90)
    assert not alive, [process.cmdline() for process in alive]
    said = end(upscale(video, target, "--workers", "2"))
    assert "from an earlier run" in said and everything(target) == whole


def test_a_killed_worker_and_a_killed_node(nodes, video, whole, tmp_path):
    nodes.join("a")
    nodes.join("b")
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, *on_cluster(nodes))
    wait_until(lambda: nodes.workers("a") and nodes.workers("b") and finished(target), driver)
    for worker in nodes.workers("a"):
        worker.kill()
    nodes.kill("b")
    said = end(driver)
    assert "lost" in said and everything(target) == whole


def test_a_node_that_joins_late_takes_part_and_another_processor_does_not(nodes, video, tmp_path):
    larger = ["--scale", "5"]  # long enough for a node to start and load the model meanwhile
    nodes.join("a")
    target = tmp_path / "a.mkv"
    driver = upscale(video, target, *larger, *on_cluster(nodes, "--ship-input"))
    wait_until(lambda: nodes.workers("a"), driver)
    nodes.join("old", ATEN_CPU_CAPABILITY="default")
    nodes.join("late")
    wait_until(lambda: nodes.workers("late"), driver)
    assert "left out, since bits would differ: processor is DEFAULT" in end(driver)
    end(upscale(video, tmp_path / "whole.mkv", *larger))
    assert everything(target) == everything(tmp_path / "whole.mkv")


def test_no_cluster_is_one_clear_line(video, tmp_path):
    process = upscale(video, tmp_path / "a.mkv", "--cluster", "127.0.0.1:9")
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1 and "no cluster answers there" in said and "Traceback" not in said
