"""Compute several images at once on a CPU, each in one thread: faster, and the same bits on any number of cores.

How torch rounds a sum depends on how many threads share it. One thread a call leaves nothing to share.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Crew:
    """Hold how many calls run at once, and how many threads each has, which decides how it rounds."""

    workers: int
    threads: int


def crew_for(cores: int, fitting: int, threads: int | None = None) -> Crew:
    """Return one worker a core with one thread, or as many as memory holds.

    fitting: how many that are. threads: of each, where a job began so. Where memory leaves half of the cores idle,
    fewer workers share all of them: only then does the number of cores decide how sums are rounded.
    """
    workers = max(1, min(cores, fitting))
    each = threads or (1 if 2 * workers > cores else cores // workers)
    return Crew(max(1, min(workers, cores // each)), each)


class _Threads:
    """Count who sets torch's number of threads, which is the process's; the last to leave restores it."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    def cores(self) -> int:
        """Return torch's number of threads as it is while nobody sets it."""
        with self.lock:
            return self.before if self.users else torch.get_num_threads()

    def set(self, threads: int) -> None:
        with self.lock:
            if not self.users:
                self.before = torch.get_num_threads()
            self.users += 1
            torch.set_num_threads(threads)

    def restore(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                torch.set_num_threads(self.before)


THREADS = _Threads()


class Workers:
    """Run calls beside each other on a CPU while engaged.

    Elsewhere, and on any other device, calls run one after another in the caller's thread: one image alone is ready
    sooner when all cores share it. count: how many calls run at once.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cpu, self.count, self.threads = device.type == "cpu", 1, 1
        self._lock, self._users = threading.Lock(), 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def is_active(self) -> bool:
        return self._pool is not None

    @contextmanager
    def engaged(self, crew: Crew) -> Iterator[None]:
        """Give the cores of a CPU to the workers of a crew for a while. Of several at once, the first decides."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self.threads = crew.threads
                if self.is_cpu:
                    self.count = crew.workers
                    # set in each of them: a thread that was not told may take all cores for its first convolution
                    self._pool = ThreadPoolExecutor(crew.workers, "model", torch.set_num_threads, (crew.threads,))
            THREADS.set(self.threads)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                pool = None if self._users else self._pool
                if not self._users:
                    self._pool, self.count = None, 1
            if pool is not None:
                pool.shutdown()
            THREADS.restore()

    def set_threads(self) -> None:
        """Let the calling thread, which is none of the workers, compute as they do while they are active."""
        if self.is_active:
            torch.set_num_threads(self.threads)

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Let a worker do `work`; where there is none, it is done when this returns."""
        if self._pool is not None:
            return self._pool.submit(work)
        done: Future[T] = Future()
        try:
            done.set_result(work())
        except BaseException as error:  # raised by whoever asks for the result, as a worker's is
            done.set_exception(error)
        return done
