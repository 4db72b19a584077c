"""Keep the finished part of an unfinished result in a folder beside the target."""

import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from image_core.errors import MediaError, OutputError
from osediff_video.job.identity import Identity, identify_beside, is_unchanged
from osediff_video.job.manifest import Manifest, read_manifest, write_manifest
from osediff_video.media.writing.segment import Segment, load_segments

MANIFEST, LOCK = "manifest.json", "lock"
OUR_NAME = re.compile(
    r"manifest\.json|lock|prompts\.json|\d{5,}\.(json|mkv|mkv\.part)|result(\.\w+)?|\.osediff-[0-9a-f]{16}(\.\w+)?"
)
"""Names of everything that a job writes; nothing else is ever removed."""


def job_folder(target: Path) -> Path:
    """Return where the unfinished work of `target` lies."""
    return target.with_name(target.name + ".osediff")


def unfinished_frames(target: Path) -> int | None:
    """Return how many frames of an unfinished result are safely on the disk; None where no work is kept.

    target: path of the result, a video or a folder.
    """
    folder = job_folder(target)
    if not (folder / MANIFEST).is_file():
        return None
    return sum(len(segment.order) for segment in load_segments(folder))


def discard_unfinished(target: Path) -> None:
    """Remove the unfinished work of a result, if there is any.

    target: path of the result, which is not touched itself. Raises OutputError while another run works on it, and for
    a folder that holds other files.
    """
    folder = job_folder(target)
    if not folder.is_dir():
        return
    with Job(target, (), Manifest({}, {}), restart=True) as job:
        job.remove()


class Job:
    """Hold the job's folder while it is in use, as a context. Raises OutputError when it is not available.

    sources: everything the result is made from. manifest: with what.
    segments: what was finished before, whole as it was written. Everything else in the folder is of an interrupted
    segment and is made again. Without a manifest nothing counts as finished.
    """

    def __init__(self, target: Path, sources: Sequence[Path], manifest: Manifest, *, restart: bool = False) -> None:
        self.folder, self.sources, self.manifest = job_folder(target), sources, manifest
        self.lock = FileLock(self.folder / LOCK, timeout=0)
        self.restart = restart
        self.segments: list[Segment] = []
        self.identity: Future[Identity]

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_folder()
            self.lock.acquire()
        except Timeout:
            raise OutputError(f"{self.folder}: another run is working on this result; wait for it") from None
        except OSError as error:
            raise OutputError(f"{self.folder}: the folder for unfinished work cannot be created ({error})") from error
        try:
            self._resume()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self.lock.is_locked and not self.segments:
            with suppress(OutputError):  # what went wrong first is what the user must read
                self.remove()
        self.lock.release()

    def _check_folder(self) -> None:
        """Refuse a folder that is not ours alone: a link, another user's, or one that holds other files."""
        where = f"{self.folder}: is needed for unfinished work, but"
        if self.folder.is_symlink():
            raise OutputError(f"{where} is a link; remove it or choose another output")
        if os.name != "nt" and self.folder.stat().st_uid != os.geteuid():
            raise OutputError(f"{where} belongs to another user; choose another output")
        if foreign := next((p.name for p in sorted(self.folder.iterdir()) if not OUR_NAME.fullmatch(p.name)), None):
            raise OutputError(
                f"{where} holds {foreign}, which this program did not write; move it away or choose another output"
            )
        if linked := next((p.name for p in sorted(self.folder.iterdir()) if p.is_symlink()), None):
            raise OutputError(f"{where} holds the link {linked}; remove it or choose another output")

    def _resume(self) -> None:
        path = self.folder / MANIFEST
        if not self.restart and path.exists():
            record = read_manifest(path)
            if record is None:
                raise OutputError(f"{path}: is damaged or was written by another version; use --restart to start over")
            source, before = record
            changes = before.changes(self.manifest)
            if not is_unchanged(self.sources, source):
                changes.insert(0, "the input file changed")
            if changes:
                raise OutputError(
                    f"{self.folder}: holds unfinished work with other settings: {'; '.join(changes)}. Run the first "
                    "command again to finish it, or use --restart to start over"
                )
            self.manifest = before
            self.identity = Future()
            self.identity.set_result(source)
            self.segments = load_segments(self.folder)
        else:
            self._clear()
            self.identity = identify_beside(self.sources)
        self._remove_segments_from(len(self.segments))

    def begin(self) -> None:
        """Record what the job is of before its first finished segment. Raises OutputError or MediaError."""
        if (self.folder / MANIFEST).exists():
            return
        try:
            write_manifest(self.folder / MANIFEST, self.identity.result(), self.manifest)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error})") from error

    def check_sources(self) -> None:
        """Refuse to resume with sources other than those the job began with. Raises MediaError."""
        if not is_unchanged(self.sources, self.identity.result()):
            raise MediaError(
                f"{self.sources[0]}: changed during the work; what is finished is of the old version. Use --restart to "
                "start over"
            )

    def drop_damaged(self) -> int | None:
        """Drop the finished segments from the first damaged one on; return its number, or None."""
        sound = len(load_segments(self.folder))
        if sound >= len(self.segments):
            return None
        del self.segments[sound:]
        self._remove_segments_from(sound)
        return sound

    def _remove_segments_from(self, first: int) -> None:
        for path in self.folder.iterdir():
            if (match := re.match(r"(\d{5,})\.", path.name)) and int(match[1]) >= first:
                path.unlink(missing_ok=True)

    def _clear(self) -> None:
        """Remove everything a job wrote but the lock; the manifest first, without which nothing counts."""
        try:
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for path in self.folder.iterdir():
                if path.name != LOCK and OUR_NAME.fullmatch(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise OutputError(f"{self.folder}: unfinished work cannot be removed ({error})") from error

    def remove(self) -> None:
        """Remove the folder and all that the job wrote: the result is in place, or nothing was finished."""
        self._clear()
        self.lock.release()
        (self.folder / LOCK).unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # somebody put a file there meanwhile: it stays
            return
