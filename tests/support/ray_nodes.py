"""A real Ray cluster of several node processes on this machine, and the command that uses it."""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
ENVIRONMENT |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
WORDS = ["--scale", "2", "--temporal", "off", "--codec", "ffv1", "--device", "cpu"]
STORE_BYTES = 80 << 20
"""Of each node; Ray takes no less than 75 MiB."""

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

    def open(self):
        """Start the node that the others join, and wait for it."""
        head = "--head", "--node-ip-address=127.0.0.1", f"--port={self.port}", "--num-cpus=0"
        self.start("head", *head, "--include-dashboard=false")

    def answers(self):
        """Whether nodes can join."""
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def start(self, name, *words, environment=None):
        """Start a node that stays in the foreground of a process group of its own, and wait for it."""
        small = f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"
        for _ in range(3):  # on a busy machine half a minute, which Ray allows, is not enough
            log = self.folder / f"{name}.log"
            root = subprocess.Popen(
                [*RAY, "start", "--block", f"--temp-dir={self.folder / 'ray'}", *small, *words],
                env={**ENVIRONMENT, **(environment or {})},
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=log.open("wb"),
            )
            root.log, self.roots[name] = log, root
            wait_until(lambda root=root: root.poll() is not None or self.is_up(name))
            with suppress(subprocess.TimeoutExpired):
                root.wait(timeout=10)  # those that start at once take each other's ports
            if root.poll() is None:
                return
            self.kill(name)
        raise AssertionError(log.read_text())

    def is_up(self, name):
        """Whether a node is at work, as far as can be seen from outside."""
        return self.answers() and any("/raylet/raylet " in words_of(one) for one in self.below(name))

    def join(self, name, **environment):
        """Start a node for one worker."""
        words = f"--address={self.address}", "--node-ip-address=127.0.0.1", "--num-cpus=1"
        self.start(name, *words, environment=environment)

    def below(self, name):
        """All processes of a node."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.roots[name].pid)
            return [root, *root.children(recursive=True)]
        return []

    def workers(self, name):
        """The processes of a node that make segments."""
        return [one for one in self.below(name) if "ray::OnNode" in words_of(one)]

    def store_bytes(self, name):
        """The most that a node's objects have taken at once, with files of which it makes memory where that is full."""
        raylet = next((one for one in self.below(name) if "/raylet/raylet " in words_of(one)), None)
        if raylet is None:
            return 0
        taken = {}
        for link in Path(f"/proc/{raylet.pid}/fd").iterdir():
            with suppress(OSError):
                if "plasma" in str(link.readlink()):
                    status = link.stat()
                    taken[status.st_ino] = status.st_blocks * 512
        return sum(taken.values())

    def spilled(self):
        """What Ray has written to the disk, since it did not fit into memory."""
        return list(self.folder.glob("ray/session_2*/ray_spilled_objects*/*"))

    def kill(self, name):
        """Take the power from a node: every process of it at once."""
        for process in reversed(self.below(name)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        root = self.roots.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(root.pid, signal.SIGKILL)  # those whose parent has ended
        root.wait()

    def leave(self, name):
        """Let a node say good-bye to the others, who would take some time to miss it."""
        for raylet in (one for one in self.below(name) if "/raylet/raylet " in words_of(one)):
            raylet.terminate()
            with suppress(psutil.TimeoutExpired):
                raylet.wait(timeout=20)
        self.kill(name)

    def stop(self):
        """Take the power from all."""
        for name in list(self.roots):
            self.kill(name)


@contextmanager
def cluster() -> Iterator[Nodes]:
    """A cluster without workers, which ends with this context."""
    # Ray's sockets have long names: a folder of pytest would be too deep for them
    with tempfile.TemporaryDirectory(prefix="farm", ignore_cleanup_errors=True) as folder:
        nodes = Nodes(Path(folder))
        try:
            nodes.open()
            yield nodes
        finally:
            nodes.stop()


def on_cluster(nodes, *words):
    """The words that let the command use a cluster."""
    return ["--cluster", nodes.address, "--worker-cores", "1", *words]


def upscale(source, target, *words, cwd=ROOT, **environment):
    """Start the command; its lines come on standard error, which is a file that can be read meanwhile."""
    command = [sys.executable, "-m", "cli", "upscale", str(source), "-o", str(target), *WORDS, *words]
    handle, log = tempfile.mkstemp(".log", "said-", target.parent)
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        stderr=handle,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it would be ignored
    )
    os.close(handle)
    process.log = Path(log)
    return process


def said(process):
    """What the command has said so far."""
    return process.log.read_text(errors="replace")


def wait_until(condition, process=None):
    """Wait for a condition; fails when the process ends before it holds."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert process is None or process.poll() is None, said(process)
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def end(process):
    """Wait for the end of the command, which must be a good one, and return what it said."""
    process.wait(timeout=PATIENCE_S)
    assert process.returncode == 0, said(process)
    return said(process)


def finished(target):
    """How many segments of an unfinished result are there."""
    folder = target.with_name(target.name + ".osediff")
    return len(list(folder.glob("0*.json"))) if folder.is_dir() else 0


def pretend(folder, module, file, **names):
    """A PYTHONPATH with which a library says something else of itself. file: of its module."""
    folder.mkdir()
    path = Path(sysconfig.get_path("purelib")) / file
    lines = "\n".join(f"module.{name} = {value!r}" for name, value in names.items())
    (folder / "sitecustomize.py").write_text(
        f"import sys, types\nmodule = types.ModuleType({module!r})\n"
        f"exec(open({str(path)!r}).read(), module.__dict__)\n{lines}\nsys.modules[{module!r}] = module\n"
    )
    return f"{folder}{os.pathsep}{ROOT}"
