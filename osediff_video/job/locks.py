"""Keep two runs from making the same segments: a job is held as a whole, or in stretches by several processes."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from image_core.errors import OutputError

LOCK = "lock"
STRETCH_LOCK = re.compile(r"(\d+)-(\d+)\.lock")
PATIENCE_S = 10.0
"""How long a process waits for others that enter a job at the same moment."""


class Hold(Protocol):
    """Hold a job, or a part of it. The system lets go of what a killed process held."""

    def acquire(self) -> None:
        """Take it. Raises OutputError when another run has it, OSError when the folder cannot be written."""
        ...

    def release(self) -> None:
        """Let others have it."""
        ...


class WholeJob:
    """Hold all segments of the job in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, FileLock(folder / LOCK, timeout=0, thread_local=False)

    def acquire(self) -> None:
        try:
            self.lock.acquire()
        except Timeout:
            raise OutputError(f"{self.folder}: another run is working on this result; wait for it") from None
        held = held_stretches(self.folder)
        if held:
            self.lock.release()
            raise busy(self.folder, held[0])

    def release(self) -> None:
        self.lock.release()


class StretchOfJob:
    """Hold some segments, while other processes may hold others."""

    def __init__(self, folder: Path, segments: range) -> None:
        self.folder, self.segments = folder, segments
        self.lock = FileLock(folder / f"{segments[0]}-{segments[-1]}.lock", timeout=0, thread_local=False)

    def acquire(self) -> None:
        try:
            with FileLock(self.folder / LOCK, timeout=PATIENCE_S):  # who holds the whole holds this all the time
                for held in held_stretches(self.folder):
                    if held[0] <= self.segments[-1] and self.segments[0] <= held[-1]:
                        raise busy(self.folder, held)
                self.lock.acquire()
        except Timeout:
            raise OutputError(f"{self.folder}: another run is working on this result; wait for it") from None

    def release(self) -> None:
        if self.lock.is_locked:
            self.lock.release()
            with suppress(OSError):
                Path(self.lock.lock_file).unlink(missing_ok=True)


def held_stretches(folder: Path) -> list[range]:
    """Return the stretches that processes hold, and remove the files of those that none does any more."""
    held = []
    for path in sorted(folder.iterdir()):
        match = STRETCH_LOCK.fullmatch(path.name)
        if match is None:
            continue
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            held.append(range(int(match[1]), int(match[2]) + 1))
            continue
        lock.release()
        path.unlink(missing_ok=True)
    return held


def busy(folder: Path, segments: range) -> OutputError:
    return OutputError(f"{folder}: another run is making segments {segments[0]}-{segments[-1]}; wait for it")
