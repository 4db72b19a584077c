"""Run pytest on a copy of the tree, in a forked process that has the heavy libraries of others already."""

import compileall
import importlib
import io
import os
import py_compile
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

from benchmarks.mutants.mutant import Mutant

LIBRARIES = [
    "torch",
    "torchvision.transforms.v2",
    "numpy",
    "av",
    "cv2",
    "PIL.Image",
    "PIL.ImageCms",
    "pytest",
    "click",
    "rich.progress",
    "scenedetect",
    "psutil",
    "filelock",
    "safetensors.torch",
    "huggingface_hub",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.schedulers.scheduling_ddpm",
    "peft",
    "timm.models.swin_transformer",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "accelerate",
    "lpips",
]
NOT_COPIED = (".git", "__pycache__", "*.egg-info", "build", "dist", "runs", ".venv", "results")
TIMEOUT_S = 180
"""Longer than any test named here takes by itself; a test that hangs has noticed."""


class Trial:
    """Hold a copy of a tree, on which tests are run, changed and unchanged."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(prefix="mutants-")
        self.copy = Path(self.folder.name) / self.tree.name
        shutil.copytree(self.tree, self.copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        if (shared := self.tree.parent / "shared").is_dir():
            (self.copy.parent / "shared").symlink_to(shared)
        # checked by content: a file that changes twice a second keeps its size and time
        checked = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self.copy, quiet=2, invalidation_mode=checked)
        os.environ |= {"PYTHONPATH": str(self.copy), "HF_HUB_OFFLINE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.path[:] = [str(self.copy), *(p for p in sys.path if Path(p).resolve() not in (self.tree, Path.cwd()))]
        with redirect_stderr(io.StringIO()):  # what they advise is not about this
            for name in LIBRARIES:
                importlib.import_module(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.folder.cleanup()

    def noticed(self, mutant: Mutant, content: str) -> tuple[str, bool, float]:
        """Return which test noticed the mutant, "" for none, whether all were skipped, and the seconds it took."""
        with replaced(self.copy / mutant.file, content):
            reports, seconds = self.pytest(list(mutant.tests), ["-x"], TIMEOUT_S)
        return next(iter(failed(reports)), ""), "passed" not in reports.values(), seconds

    def failing(self, tests: list[str]) -> list[str]:
        """Return which of `tests` fail on the unchanged tree."""
        return failed(self.pytest(tests, [], TIMEOUT_S * len(tests))[0]) if tests else []

    def pytest(self, tests: list[str], options: list[str], limit_s: float) -> tuple[dict[str, str], float]:
        """Run tests in a process of their own. Returns test -> outcome, and the seconds."""
        log, began = self.copy.parent / "reports", time.monotonic()
        log.write_text("")
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            run_tests(self.copy, [*tests, *options], log)
        try:
            while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() - began < limit_s:
                time.sleep(0.02)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # and what tests have started
        reports = dict(line.split("\t") for line in log.read_text(encoding="utf-8").splitlines())
        if ended == (0, 0):
            os.waitpid(child, 0)
            reports[f"no end within {limit_s:.0f} s"] = "failed"
        elif ended[1] and "failed" not in reports.values():
            reports["the tests cannot be collected"] = "failed"
        return reports, time.monotonic() - began


def failed(reports: dict[str, str]) -> list[str]:
    """Return the tests that failed, in order."""
    return [name for name, outcome in reports.items() if outcome == "failed"]


def run_tests(tree: Path, arguments: list[str], log: Path) -> NoReturn:
    """Run pytest in `tree` and end the process. log: gets a line for each test, its name and outcome."""
    os.setsid()
    os.chdir(tree)
    output = os.open(log.with_name("output"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        plain = ["-o", "addopts=", "-p", "no:cacheprovider", f"--basetemp={tree.parent / 'temporary'}"]
        status = int(pytest.main([*plain, *arguments], plugins=[Reports(log)]))
    finally:
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Reports:
    """Write down the outcome of each test."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{report.nodeid}\t{report.outcome}\n")


@contextmanager
def replaced(path: Path, content: str) -> Iterator[None]:
    """Give a file other content for a while."""
    old = path.read_text(encoding="utf-8")
    path.write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(old, encoding="utf-8")
