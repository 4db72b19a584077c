"""Do what buttons and controls of the page ask for; each answers with what is shown."""

import secrets
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

from osediff_video import (
    ImagePlan,
    OseDiffError,
    OutputError,
    Preview,
    Progress,
    VideoPlan,
    preview,
    probe,
)
from page.facts import entry_facts
from page.folders import Folders
from page.queue import Entry, Queue, StoppedError
from page.request import NO_PRESET, Request

Line = dict[str, Any]
"""What a line of text shows: {"text": ..., "error": ...}."""
MOST_VIEWS = 6
LONGEST_PREVIEW_S = 10.0
PLAYED = {".mp4", ".m4v", ".mov", ".webm", ".mkv"}


@dataclass(frozen=True)
class Controls:
    """Hold what the controls of one page say. start, end: of the stretch; None where none was picked."""

    preset: str = NO_PRESET
    model: str = "auto"
    size: str = "x4"
    strength: float = Request.strength
    steadiness: float = Request.steadiness
    deinterlace: str = Request.deinterlace
    crf: str = ""
    name: str = ""
    only_stretch: bool = False
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Looked:
    """Hold what was found about a source: the request as it stands, and its plan."""

    request: Request
    plan: VideoPlan | ImagePlan

    @property
    def duration_s(self) -> float | None:
        return self.plan.info.duration_s if isinstance(self.plan, VideoPlan) else None


@dataclass
class Actions:
    """Act for all open pages. previews: those that are being made, by page."""

    folders: Folders
    queue: Queue
    views: Path
    previews: dict[str, threading.Event] = field(default_factory=dict)
    machine: threading.Lock = field(default_factory=threading.Lock)

    def look(self, words: str, controls: Controls) -> Looked:
        """Find a source and plan for it. Raises OseDiffError."""
        source = self.folders.readable(words)
        request = Request(
            source=str(source),
            target="",
            preset=controls.preset,
            model=controls.model,
            size=controls.size.strip(),
            strength=controls.strength,
            steadiness=controls.steadiness,
            deinterlace=controls.deinterlace,
            crf=parse_crf(controls.crf),
            start=seconds(controls.start) if controls.only_stretch else None,
            end=seconds(controls.end) if controls.only_stretch else None,
        )
        with arguments_checked():
            target = self.folders.writable(controls.name) if controls.name.strip() else self.folders.output
            plan = probe(
                source,
                target,
                model=request.model,
                scale=request.scale or request.image_options().scale,
                size=None if request.scale else request.size,
                overwrite=True,  # said when it is queued
                video=replace(request.video_options(), strict=False),
                encoding=request.encoding(),
            )
        return Looked(replace(request, target=str(plan.target), is_image=isinstance(plan, ImagePlan)), plan)

    def add(self, words: str, controls: Controls) -> Entry:
        """Queue what the page shows. Raises OseDiffError."""
        looked = self.look(words, controls)
        target = Path(looked.request.target)
        if target.exists():
            raise OutputError(f"{target.name}: exists already in {target.parent}; give the result another name")
        return self.queue.add(looked.request)

    def preview(self, words: str, controls: Controls, page: str, progress: Callable[[Progress], None]) -> Preview:
        """Make a preview of the stretch; the queue waits. Raises OseDiffError, and StoppedError when it is stopped."""
        request = self.look(words, controls).request
        stop = self.previews[page] = threading.Event()
        folder = self.views / secrets.token_urlsafe(16)

        def report(state: Progress) -> None:
            progress(state)
            if stop.is_set():
                raise StoppedError

        length = LONGEST_PREVIEW_S if None in (controls.start, controls.end) else controls.end - controls.start  # type: ignore[operator]
        with self.queue.held(), self.machine, arguments_checked():
            folder.mkdir(parents=True)
            try:
                return preview(
                    request.source,
                    folder,
                    model=request.model,
                    options=request.image_options(),
                    video=replace(request.video_options(), strict=False),
                    encoding=request.encoding(),
                    at_s=None if controls.start is None else Fraction(seconds(controls.start) or 0),
                    seconds=min(LONGEST_PREVIEW_S, length),
                    suffix=Path(request.target).suffix,
                    progress=report,
                )
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            finally:
                self.previews.pop(page, None)
                self.forget_old_views()

    def stop_preview(self, page: str) -> None:
        """Stop the preview that a page waits for, if it waits for one."""
        if stop := self.previews.get(page):
            stop.set()

    def forget_old_views(self) -> None:
        """Remove all previews but the latest."""
        folders = sorted(self.views.iterdir(), key=lambda folder: folder.stat().st_mtime)
        for folder in folders[:-MOST_VIEWS]:
            shutil.rmtree(folder, ignore_errors=True)

    def act(self, number: int, deed: str) -> dict[str, Any] | None:
        """Pause, resume, show or remove an entry of the queue, or return what shows its result. Raises OseDiffError."""
        if deed == "show":
            return self.result_of(number)
        deeds = {"pause": self.queue.pause, "resume": self.queue.resume, "remove": self.queue.remove}
        if deed in deeds:
            deeds[deed](number)
        return None

    def result_of(self, number: int) -> dict[str, Any]:
        """Return where the result of a finished entry is shown. Raises OutputError for one that is gone."""
        entry = next((one for one in self.queue.listed() if one.number == number and one.state == "done"), None)
        if entry is None or not Path(entry.request.target).is_file():
            raise OutputError(f"{entry.request.target if entry else 'this result'}: is not there any more")
        return {
            "address": f"result/{number}?v={Path(entry.request.target).stat().st_mtime_ns}",
            "video": not entry.request.is_image,
            "place": entry.request.target,
            "lines": list(entry.lines),
        }

    def listed(self) -> list[dict[str, Any]]:
        """Return the rows of the queue."""
        return [entry_facts(entry) for entry in self.queue.listed()]


def seconds(value: float | None) -> str | None:
    """Return seconds as a decimal number, in milliseconds at most."""
    return None if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def parse_crf(words: str) -> float | None:
    """Return the quality that was typed; None for nothing. Raises OutputError."""
    if not words.strip():
        return None
    try:
        return float(words)
    except ValueError as error:
        raise OutputError(f"CRF must be a number such as 18, got {words[:40]!r}") from error


def command_of(request: Request) -> str:
    """Return the equal command, quoted for a shell."""
    return shlex.join(request.words())


def timeline_of(looked: Looked) -> dict[str, Any] | None:
    """Return what the timeline shows: all of the video, and three seconds after a third of it."""
    duration = looked.duration_s
    if not duration or duration < 0.4:
        return None
    start = round(max(0.0, min(duration / 3, duration - 3)), 1)
    return {
        "pictures": f"picture?path={quote(looked.request.source)}",
        "duration": round(duration, 3),
        "start": start,
        "end": min(round(duration, 3), start + 3.0),
    }


@contextmanager
def arguments_checked() -> Iterator[None]:
    """Turn wrong values of controls into an error of one line. Raises OutputError."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise OutputError(str(error)) from error


def line(error: OseDiffError | str) -> Line:
    """Return a line for what went wrong, or for what is to be said."""
    return {"text": str(error), "error": isinstance(error, OseDiffError)}
