"""Keep the finished part of an unfinished result in a folder beside the target."""

import itertools
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from image_core.errors import MediaError, OutputError
from osediff_video.job.identity import Identity, identify_beside, is_unchanged
from osediff_video.job.locks import LOCK, Hold, StretchOfJob, WholeJob
from osediff_video.job.manifest import Manifest, read_manifest, write_manifest
from osediff_video.job.survey import Survey, read_survey
from osediff_video.media.writing.segment import Segment, load_segment, load_segments

MANIFEST = "manifest.json"
OUR_NAME = re.compile(
    r"manifest\.json|(\d+-\d+\.)?lock|prompts\.json|survey\.json|tones\.npy|\d{5,}\.(json|mkv|mkv\.part)|result(\.\w+)?"
    r"|\.osediff-[0-9a-f]{16}(\.\w+)?"
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
    survey = read_survey(folder)
    if survey is None:
        return sum(len(segment.order) for segment in load_segments(folder))
    segments = (load_segment(folder, index) for index in range(survey.count))
    return sum(len(segment.order) for segment in segments if segment is not None)


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

    sources: everything the result is made from. manifest: with what; None takes that of the job.
    stretch: the segments that are to be made here, of a job that was planned before; other processes may make others.
    mixed: what computes may differ from what the job began with.
    survey: what was found by reading the source once; None where nobody planned the job.
    segments: what was finished before, whole as it was written; of a stretch those in it. Everything else in the folder
    is of an interrupted segment and is made again. Without a manifest nothing counts as finished.
    """

    def __init__(
        self,
        target: Path,
        sources: Sequence[Path],
        manifest: Manifest | None,
        *,
        restart: bool = False,
        stretch: range | None = None,
        mixed: bool = False,
    ) -> None:
        self.folder, self.sources = job_folder(target), sources
        self.stretch, self.restart, self.mixed = stretch, restart, mixed
        self.lock: Hold = WholeJob(self.folder) if stretch is None else StretchOfJob(self.folder, stretch)
        self.segments: list[Segment] = []
        self.survey: Survey | None = None
        self.identity: Future[Identity]
        self.manifest: Manifest
        self._wanted, self._removed = manifest, False

    def __enter__(self) -> Self:
        if self._is_of_others and not (self.folder / MANIFEST).is_file():
            raise self._unplanned()
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._check_folder()
            self.lock.acquire()
        except OSError as error:
            raise OutputError(f"{self.folder}: the folder for unfinished work cannot be created ({error})") from error
        try:
            self._resume()
        except BaseException:
            self.lock.release()
            raise
        return self

    def leave(self) -> None:
        """Let others have the job before this context ends."""
        self.lock.release()

    def _unplanned(self) -> OutputError:
        return OutputError(
            f"{self.folder}: holds no plan of this result; run osediff-video plan first, with the same options"
        )

    @property
    def _is_of_others(self) -> bool:
        """Return whether the job must have been planned by another process."""
        return self.stretch is not None or self._wanted is None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not (self.segments or self.survey or self._is_of_others or self._removed):
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
            changes = before.changes(self._wanted, self.mixed) if self._wanted else []
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
            self.survey = read_survey(self.folder)
            if self.survey is None and self._is_of_others:
                raise self._unplanned()
            self.segments = self._load()
        else:
            assert self._wanted is not None
            self._clear()
            self.manifest = self._wanted
            self.identity = identify_beside(self.sources)
        self._remove_unfinished()

    def _load(self) -> list[Segment]:
        """Return the finished segments: of a planned job any, else those from the first up to one that is missing."""
        if self.survey is None:
            return load_segments(self.folder)
        segments = (load_segment(self.folder, index) for index in self._range(self.survey))
        return [one for one in segments if one is not None and len(one.order) == self.survey.length(one.index)]

    def _range(self, survey: Survey) -> range:
        """Return the numbers of the segments that are made here. Raises OutputError for some that there are not."""
        if self.stretch is None:
            return range(survey.count)
        if self.stretch[-1] >= survey.count:
            raise OutputError(
                f"{self.folder}: has segments 0-{survey.count - 1}, got {self.stretch[0]}-{self.stretch[-1]}"
            )
        return self.stretch

    def gaps(self) -> list[tuple[int, int | None]]:
        """Return the segments to make, as numbers of the first and of the one after the last.

        None is the end of a video that nobody has read yet.
        """
        if self.survey is None:
            return [(len(self.segments), None)]
        here = {segment.index for segment in self.segments}
        missing = [index for index in self._range(self.survey) if index not in here]
        runs = itertools.groupby(enumerate(missing), lambda pair: pair[1] - pair[0])
        stretches = [[index for _, index in run] for _, run in runs]
        return [(run[0], run[-1] + 1) for run in stretches]

    def add(self, segment: Segment) -> None:
        """Count a segment that is safely on the disk among the finished ones. Raises OutputError or MediaError."""
        self.begin()
        self.segments.append(segment)
        self.segments.sort(key=lambda one: one.index)

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
        """Drop the finished segments that are damaged, or all from there on; return the first one's number, or None."""
        sound = self._load()
        lost = sorted({segment.index for segment in self.segments} - {segment.index for segment in sound})
        if not lost:
            return None
        self.segments = sound
        self._remove_unfinished()
        return lost[0]

    def _remove_unfinished(self) -> None:
        """Remove files of segments that are not finished, but for those that others may be at work on."""
        here = {segment.index for segment in self.segments}
        for path in self.folder.iterdir():
            index = int(match[1]) if (match := re.match(r"(\d{5,})\.", path.name)) else None
            if index is not None and index not in here and (self.stretch is None or index in self.stretch):
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
        self._removed = True
        self.lock.release()
        (self.folder / LOCK).unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # somebody put a file there meanwhile: it stays
            return
