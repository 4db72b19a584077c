"""Report what a running job does: one line that rewrites itself, plain lines when piped, or events in JSON."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.printing import printable, say

if TYPE_CHECKING:
    from osediff_video.farm.planning import Planned
    from osediff_video.farm.stretch import Stretch
    from osediff_video.plan import VideoPlan
    from osediff_video.run import Progress, Result


PLAIN: Any = {"highlight": False, "markup": False, "no_wrap": True}  # a name such as film [1080p].mkv is no style


class ImageProgress:
    """Show how far one image is, and about how long it will take; nothing for what is done in two seconds."""

    def __init__(self, source: Path) -> None:
        from rich.console import Console

        self.source, self.console = source, Console(stderr=True)
        self.started = self.last = time.monotonic()
        self.shown = False

    def __call__(self, share: float) -> None:
        """Show the share of the work that is done, 0 to 1."""
        now, live = time.monotonic(), self.console.is_terminal
        if share >= 1 or not share or now - self.started < 2 or now - self.last < (0.2 if live else 10):
            return
        self.last, self.shown = now, True
        left = clock((now - self.started) * (1 - share) / share)
        line = f"{printable(self.source.name)}: {share:.0%}, about {left} left"
        self.console.print(line, end="\r" if live else "\n", **PLAIN)

    def end(self) -> None:
        """Leave the line, so that what follows begins a new one."""
        if self.shown and self.console.is_terminal:
            self.console.print()


class Teller:
    """Report on one video in words on standard error."""

    def __init__(self, source: Path) -> None:
        import psutil
        from rich.console import Console

        self.source, self.process = source, psutil.Process()
        self.console, self.last = Console(stderr=True), 0.0
        self.reported: tuple[str, ...] = ()

    def planned(self, plan: "VideoPlan") -> None:
        for stream in plan.streams:
            if stream.action not in ("copy", "upscale"):
                self.line(f"note: {stream}")
        self.reported = plan.notes
        for note in plan.notes:
            self.line(f"note: {note}")

    def progress(self, progress: "Progress") -> None:
        now, live = time.monotonic(), self.console.is_terminal
        if self.last and now - self.last < (0.2 if live else 10):
            return
        self.last = now
        self.console.print(self.progress_line(progress), end="\r" if live else "\n", **PLAIN)

    def progress_line(self, progress: "Progress") -> str:
        total = f" of {progress.total} ({progress.frames / progress.total:.0%})" if progress.total else ""
        eta = f", {clock(progress.eta_s)} left" if progress.eta_s is not None else ""
        rate = f"{progress.fps:.2f} fps{eta}, {self.memory_mb():.0f} MB"
        return f"{printable(self.source.name)}: frame {progress.frames}{total}, {rate}"

    def memory_mb(self) -> float:
        return self.process.memory_info().rss / 2**20

    def done(self, result: "Result") -> None:
        self.end()
        if result.already_finished:
            self.line(f"{result.target}: {result.frames} frames, finished by an earlier run; nothing to do")
            return
        fresh = result.frames - result.resumed
        before = f" ({result.resumed} from an earlier run)" if result.resumed else ""
        rate = f"{fresh / result.elapsed_s:.2f} fps" if fresh else "put together"
        self.line(f"{result.target}: {result.frames} frames{before} in {result.elapsed_s:.1f} s ({rate})")
        if result.in_time:
            self.line(str(result.in_time))
        for note in result.notes[len(self.reported) :]:
            self.line(f"note: {note}")
        if result.faults:
            self.line(f"damage: {result.faults}")
        if result.verification:
            self.line(str(result.verification))

    def surveyed(self, job: "Planned") -> None:
        finished = f", {job.finished} of them finished" if job.finished else ""
        self.line(f"{job.target}: {job.frames} frames in {job.segments} segments, 0-{job.segments - 1}{finished}")

    def stretched(self, stretch: "Stretch") -> None:
        self.end()
        first, last = stretch.segments[0], stretch.segments[-1]
        before = f" ({stretch.resumed} from an earlier run)" if stretch.resumed else ""
        self.line(
            f"{stretch.folder}: segments {first}-{last}, {stretch.frames} frames{before} in {stretch.elapsed_s:.1f} s"
        )

    def failed(self, message: str) -> None:
        self.end()
        self.line(f"{self.source}: {message}" if str(self.source) not in message else message)

    def line(self, sentence: str) -> None:
        say(sentence)

    def end(self) -> None:
        if self.last and self.console.is_terminal:
            self.console.print()
        self.last = 0.0


class JsonTeller(Teller):
    """Report on one video in events on standard output, one JSON object per line."""

    def event(self, name: str, **values: Any) -> None:
        click.echo(json.dumps({"event": name, "source": str(self.source), **values}, default=str))

    def planned(self, plan: "VideoPlan") -> None:
        self.event("plan", **plan_facts(plan))

    def progress(self, progress: "Progress") -> None:
        now = time.monotonic()
        if self.last and now - self.last < 1:
            return
        self.last = now
        self.event(
            "progress",
            frames=progress.frames,
            total=progress.total,
            resumed=progress.resumed,
            fps=round(progress.fps, 3),
            eta_s=None if progress.eta_s is None else round(progress.eta_s, 1),
            memory_mb=round(self.memory_mb(), 1),
        )

    def done(self, result: "Result") -> None:
        check = result.verification
        faults = result.faults
        self.event(
            "done",
            target=str(result.target),
            frames=result.frames,
            resumed=result.resumed,
            already_finished=result.already_finished,
            elapsed_s=round(result.elapsed_s, 3),
            notes=list(result.notes),
            complete=result.complete,
            damage={
                "repeated": len(faults.repeated),
                "lost": len(faults.lost),
                "concealed": faults.concealed,
                "moved": faults.moved,
                "joined": len(faults.joined),
                "changes": faults.changes,
                "cut_short": faults.cut_short,
            },
            verified=None if check is None else check.ok,
            largest_time_error_ms=None if check is None else round(float(check.largest_error_s) * 1000, 6),
            sound_error_ms=None
            if check is None or check.sound_error_s is None
            else round(float(check.sound_error_s) * 1000, 6),
        )

    def surveyed(self, job: "Planned") -> None:
        self.event("planned", **asdict(job))

    def stretched(self, stretch: "Stretch") -> None:
        facts = asdict(stretch)
        numbers = facts.pop("segments")
        self.event("segments", first=numbers[0], last=numbers[-1], **facts)

    def failed(self, message: str) -> None:
        self.event("error", message=message)

    def line(self, sentence: str) -> None:
        self.event("note", message=sentence)


def plan_facts(plan: "VideoPlan") -> dict[str, Any]:
    """Return the plan in JSON's types, for `probe` and `--json`."""
    info, encoder = plan.info, plan.encoder
    return {
        "target": str(plan.target),
        "input": {
            "width": info.width,
            "height": info.height,
            "codec": info.codec,
            "pix_fmt": info.pix_fmt,
            "bit_depth": info.bit_depth,
            "frames_estimate": info.frame_count_estimate,
            "duration_s": info.duration_s,
            "begins_s": float(info.begins_s),
            "frame_rate": str(info.frame_rate),
            "time_base": str(info.time_base),
            "interlaced": info.interlaced,
            "alpha": info.alpha,
        },
        "output": {
            "width": plan.width,
            "height": plan.height,
            "codec": encoder.codec,
            "pix_fmt": encoder.pix_fmt,
            "options": dict(encoder.options),
            "alpha": encoder.alpha,
        },
        "streams": [asdict(stream) for stream in plan.streams],
        "notes": list(plan.notes),
    }


def is_well_done(teller: Teller, result: "Result", allow_damaged: bool, on_done: list[str] | None) -> bool:
    """Report a result, run the command that is to hear of it, and tell whether all went well.

    on_done: words of the command; it hears of whole and verified results of this run.
    """
    from image_core.errors import OutputError
    from osediff_video.workflow.on_done import run_on_done

    teller.done(result)
    whole = result.complete or allow_damaged
    if not (whole and (result.verification is None or result.verification.ok)):
        return False
    if on_done and not result.already_finished:
        try:
            run_on_done(on_done, result.target)
        except OutputError as error:
            teller.failed(str(error))
            return False
    return True


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
