"""Keep a queue of requests, one at a time in work, that survives a reload of the page and a restart of the program.

Each request is a small file; what is finished of it is in the job's own folder beside the result, as for a command.
"""

import json
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from osediff_video import MediaError, OseDiffError, OutputError, Progress, discard_unfinished, unfinished_frames
from page.request import Request, from_json
from page.work import Work

State = Literal["waiting", "running", "paused", "done", "failed"]
OPEN: tuple[State, ...] = ("waiting", "running", "paused")


class StoppedError(Exception):
    """Report that a user stopped the work; raised where it reports its progress."""


@dataclass
class Entry:
    """Hold one request and how far it is.

    number: place in the queue.
    stamp: size and time of the source when it was queued; another one means another file.
    lines: what happened, in sentences.
    ok: finished and verified.
    begun: unfinished work beside the result is of this request, so that it may be discarded.
    frames: finished by earlier runs; None where there are none.
    progress: of the work, as it runs.
    """

    number: int
    request: Request
    stamp: tuple[int, int]
    state: State = "waiting"
    lines: tuple[str, ...] = ()
    ok: bool = False
    begun: bool = False
    frames: int | None = None
    progress: Progress | None = field(default=None, compare=False)


class Queue:
    """Run requests one after another in a thread of its own, as a context.

    folder: where requests are kept. work: what carries one out. Raises OutputError if another program uses the folder.
    """

    def __init__(self, folder: Path, work: Work) -> None:
        self.folder, self.work = folder, work
        self.changed = threading.Condition()
        self.entries: dict[int, Entry] = {}
        self.running: int | None = None
        self.stopping = self.closing = False
        self.held_by = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / "lock", timeout=0)
        try:
            self.lock.acquire()
        except Timeout:
            raise OutputError(f"{folder}: a page with these folders runs already; use that one, or end it") from None
        self._load()
        self.thread = threading.Thread(target=self._run, name="queue", daemon=True)

    def __enter__(self) -> "Queue":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop after the present frame; the next program with this folder goes on."""
        with self.changed:
            self.closing = self.stopping = True
            self.changed.notify_all()
        self.thread.join(timeout=60)
        self.lock.release()

    def add(self, request: Request) -> Entry:
        """Queue a request. Raises OutputError for a result that is in the queue already, MediaError for a source."""
        stamp = stamp_of(Path(request.source))
        with self.changed:
            if any(one.request.target == request.target and one.state in OPEN for one in self.entries.values()):
                raise OutputError(f"{request.target}: is in the queue already")
            entry = Entry(max(self.entries, default=0) + 1, request, stamp)
            self.entries[entry.number] = entry
            self._save(entry)
            self.changed.notify_all()
        return entry

    def pause(self, number: int) -> None:
        """Stop a request until `resume`; finished segments are kept. Nothing happens to one that has ended."""
        with self.changed:
            entry = self.entries.get(number)
            if entry is not None and entry.state in ("waiting", "running"):
                entry.state = "paused"
                self._save(entry)
                self._stop_if_running(number)

    def resume(self, number: int) -> None:
        """Let a paused or failed request go on, with the source as it is now if nothing of it is finished."""
        with self.changed:
            entry = self.entries.get(number)
            if entry is None or entry.state not in ("paused", "failed"):
                return
            with suppress(MediaError):
                entry.stamp = stamp_of(Path(entry.request.source)) if not entry.frames else entry.stamp
            entry.state, entry.lines = "waiting", ()
            self._save(entry)
            self.changed.notify_all()

    def remove(self, number: int) -> None:
        """Take a request out of the queue and discard its unfinished work; a finished result stays.

        Raises OutputError where the work cannot be discarded.
        """
        with self.changed:
            entry = self.entries.pop(number, None)
            if entry is None:
                return
            self._file(number).unlink(missing_ok=True)
            is_running = self.running == number
            self._stop_if_running(number)
        if not is_running and entry.begun and entry.state != "done":
            discard_unfinished(Path(entry.request.target))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the running request at its next frame while something short has the machine."""
        with self.changed:
            self.held_by += 1
        try:
            yield
        finally:
            with self.changed:
                self.held_by -= 1
                self.changed.notify_all()

    def listed(self) -> list[Entry]:
        """Return the entries in their order."""
        with self.changed:
            return [self.entries[number] for number in sorted(self.entries)]

    def _stop_if_running(self, number: int) -> None:
        if self.running == number:
            self.stopping = True
        self.changed.notify_all()

    def _report(self, entry: Entry, progress: Progress) -> None:
        """Take note of progress, wait while the machine is held, and stop where that is asked for."""
        with self.changed:
            if not entry.begun and not entry.request.is_image:
                entry.begun = True
                self._save(entry)
            entry.progress = progress
            while self.held_by and not self.stopping:
                self.changed.wait()
            if self.stopping:
                raise StoppedError

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            try:
                check_stamp(entry)
                outcome = self.work(entry.request, partial(self._report, entry))
            except StoppedError:
                self._end(entry, "waiting", ())  # unless it was paused or removed meanwhile
            except OseDiffError as error:
                self._end(entry, "failed", (str(error),))
            except Exception as error:  # one request that fails for whatever reason must not end the others
                traceback.print_exc(file=sys.stderr)
                self._end(entry, "failed", (f"{type(error).__name__}: {error}",))
            else:
                self._end(entry, "done" if outcome.ok else "failed", outcome.lines, outcome.ok)

    def _next(self) -> Entry | None:
        """Wait for a request and return it; None at the end."""
        with self.changed:
            while True:
                if self.closing:
                    return None
                waiting = [number for number, entry in self.entries.items() if entry.state == "waiting"]
                if waiting:
                    self.running, self.stopping = min(waiting), False
                    entry = self.entries[self.running]
                    entry.state, entry.progress = "running", None
                    self._save(entry)
                    return entry
                self.changed.wait()

    def _end(self, entry: Entry, state: State, lines: tuple[str, ...], ok: bool = False) -> None:
        with self.changed:
            self.running, entry.progress = None, None
            removed = self.entries.get(entry.number) is not entry
            if entry.state == "running" or state != "waiting":  # it can end before it hears that it should pause
                entry.state, entry.lines, entry.ok = state, lines, ok
            entry.frames = None if removed else frames_of(entry.request)
            self._save(entry)
        if removed and state != "done" and entry.begun:
            try:
                discard_unfinished(Path(entry.request.target))
            except OutputError as error:
                with self.changed:
                    self.entries[entry.number] = entry
                    self._end(entry, "failed", (str(error),))

    def _load(self) -> None:
        """Read the requests of an earlier program; what ran then waits, unreadable files are passed over."""
        for file in sorted(self.folder.glob("[0-9]*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                request = from_json(values.pop("request"))
                stamp, lines = tuple(values.pop("stamp")), tuple(values.pop("lines"))
                entry = Entry(request=request, stamp=stamp, lines=lines, **values)
                entry.state = "waiting" if entry.state == "running" else entry.state
                entry.frames = frames_of(request) if entry.state in OPEN else None
                self.entries[entry.number] = entry

    def _save(self, entry: Entry) -> None:
        if self.entries.get(entry.number) is not entry:
            return  # removed
        values = asdict(entry)
        del values["progress"], values["frames"]
        part = self._file(entry.number).with_suffix(".part")
        part.write_text(json.dumps(values), encoding="utf-8")
        part.replace(self._file(entry.number))

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"


def frames_of(request: Request) -> int | None:
    """Return how many frames of an unfinished result are on the disk; None where there are none."""
    return None if request.is_image else unfinished_frames(Path(request.target)) or None


def stamp_of(source: Path) -> tuple[int, int]:
    """Return size and time of change of a source. Raises MediaError for a missing one."""
    try:
        status = source.stat()
    except OSError as error:
        raise MediaError(f"{source}: no such file ({error.strerror})") from error
    return status.st_size, status.st_mtime_ns


def check_stamp(entry: Entry) -> None:
    """Refuse a source that is not what was queued. Raises MediaError."""
    if stamp_of(Path(entry.request.source)) != entry.stamp:
        raise MediaError(f"{entry.request.source}: changed after it was queued; look at it again, then add it again")
