"""Work for a job that another machine drives: plan its videos, make its segments, hand both back as bytes."""

import math
import os
import queue
import re
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from image_core.errors import OseDiffError
from image_core.models.catalogue import find_model
from image_core.options import Engine, Precision, UpscaleOptions
from image_core.storage.files import sha256
from image_core.storage.sealed import read_sealed
from osediff_video.api import load_upscaler
from osediff_video.farm.planning import plan_job
from osediff_video.farm.shipping import Shelf
from osediff_video.farm.stretch import make_planned
from osediff_video.job.folder import job_folder
from osediff_video.job.manifest import Manifest, computation_of, manifest_of
from osediff_video.job.order import Order
from osediff_video.media.writing.segment import segment_file
from osediff_video.plan import VideoPlan, plan_video

CHUNK_BYTES = 8 << 20
"""Of a file on its way: with a few of them for each worker, memory does not depend on the size of segments."""

TELL_S = 0.5
SCRATCH = "osediff-worker-"
Files = dict[str, bytes]
"""What lies in a job's folder before its first segment, by name."""


@dataclass(frozen=True)
class ModelChoice:
    """Hold what a worker loads. model: a name or a folder. cores: threads that it may use on a CPU; None is all."""

    model: str
    options: UpscaleOptions
    device: str
    precision: Precision
    engine: Engine = "auto"
    cores: int | None = None


@dataclass(frozen=True)
class Task:
    """Hold one video of a batch as a worker sees it.

    name: of the target, whose suffix counts. shipped: digests of the files that do not lie on the worker's machine, by
    their paths in the order. mixed: see `Job`.
    """

    order: Order
    name: str
    shipped: dict[str, str] = field(default_factory=dict)
    mixed: bool = False


class Worker:
    """Hold a loaded model and make segments with it, in a scratch folder of its own.

    place: folder for scratch and for what is shipped here; None is the system's.
    """

    def __init__(self, choice: ModelChoice, place: str | None = None) -> None:
        self.shelf = Shelf(Path(place or tempfile.gettempdir()) / f"osediff-shelf-{os.getuid()}")
        self.choice, self.place = choice, place
        remove_abandoned(Path(place or tempfile.gettempdir()))
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-", dir=place))
        self.said: list[str] = []
        self.upscaler: Any = None
        self.plans: deque[tuple[Order, VideoPlan]] = deque(maxlen=4)

    def lacks(self, digests: list[str]) -> list[str]:
        """Return which of these contents have to be shipped here."""
        return self.shelf.lacks(digests)

    def take(self, digest: str, offset: int, chunk: bytes, last: bool) -> None:
        """Accept a part of a content that was lacking. Raises OutputError."""
        self.shelf.take(digest, offset, chunk, last)

    def has_model(self, digest: str) -> bool:
        """Return whether the model lies here under its name. digest: of its `bundle.json`."""
        try:
            return sha256(find_model(self.choice.model).path / "bundle.json") == digest
        except (OseDiffError, OSError):
            return False

    def load(self, bundle: dict[str, str] | None) -> dict[str, Any]:
        """Load the model and return what computes here, and where.

        bundle: digest of each of its files, where the model was shipped. Raises OseDiffError.
        """
        if self.choice.cores:
            torch.set_num_threads(self.choice.cores)
        choice = self.choice
        model = choice.model if bundle is None else str(self.shelf.folder_of(bundle))
        self.upscaler = load_upscaler(
            model,
            self.choice.options,
            device=self.choice.device,
            precision=self.choice.precision,
            engine=self.choice.engine,
            report=self.said.append,
        )
        return {**computation_of(self.upscaler), "model": self.upscaler.identity, "pid": os.getpid(), "said": self.said}

    def manifest(self, task: Task) -> Manifest:
        """Return what decides the result. Raises OseDiffError."""
        return manifest_of(self.plan(task), self.upscaler)

    def plan(self, task: Task) -> VideoPlan:
        """Return the plan of a video, made once for all its segments. Raises OseDiffError."""
        order = self.shelf.placed(task.order, task.shipped)
        if order not in [one for one, _ in self.plans]:
            target = self.scratch / task.name
            plan = plan_video(order.source, target, order.scale, order.encoding, order.options, room=False)
            self.plans.append((order, plan))
        return next(plan for one, plan in self.plans if one == order)

    def survey(self, task: Task) -> Files:
        """Plan a video as `plan_job` does and return the files of the plan. Raises OseDiffError."""
        order = self.shelf.placed(task.order, task.shipped)
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            target = Path(folder) / task.name
            plan_job(order.source, target, self.upscaler, order.encoding, order.options, room=False)
            return files_in(job_folder(target))

    def make(self, task: Task, files: Files, index: int) -> Iterator[Any]:
        """Make one segment; yield frames done (int), then its file in chunks (bytes), then its record (dict).

        Raises OseDiffError or OSError.
        """
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            plan = replace(self.plan(task), target=Path(name) / task.name)
            folder = job_folder(plan.target)
            folder.mkdir(mode=0o700)
            for file, content in files.items():
                (folder / file).write_bytes(content)

            def work(tell: Callable[[int], None]) -> None:
                segments = range(index, index + 1)
                make_planned(
                    plan,
                    self.upscaler,
                    segments,
                    mixed=task.mixed,
                    progress=lambda progress: tell(progress.frames),
                )

            yield from told(work)
            made = segment_file(folder, index)
            with made.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
            record = read_sealed(made.with_suffix(".json"))
            assert record is not None
            yield record

    def close(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)


def told(work: Callable[[Callable[[int], None]], None]) -> Iterator[int]:
    """Run `work` in a thread and yield what it tells, now and then. Raises what it raises."""
    news: queue.Queue[int | BaseException | None] = queue.Queue()

    def run() -> None:
        try:
            work(news.put)
            news.put(None)
        except BaseException as error:  # raised where the news are read
            news.put(error)

    thread = threading.Thread(target=run, name="segment", daemon=True)
    thread.start()
    said = -math.inf
    while (item := news.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        if time.monotonic() - said > TELL_S:
            said = time.monotonic()
            yield item
    thread.join()


def files_in(folder: Path) -> Files:
    """Return what a plan wrote to its folder, but for the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".npy")}


def remove_abandoned(place: Path) -> None:
    """Remove scratch folders of workers that were killed."""
    for path in place.glob(f"{SCRATCH}*"):
        match = re.match(rf"{SCRATCH}(\d+)-", path.name)
        with suppress(OSError):
            if match and not psutil.pid_exists(int(match[1])) and path.stat().st_uid == os.getuid():
                shutil.rmtree(path, ignore_errors=True)
