"""Measure whole runs of `upscale`, their start included, in alternation with those of another program."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from image_core.errors import MediaError
from osediff_video.workflow.peers import CRF, PRESET

PEAK = "peak of this process: "
SAY_PEAK = f"""
import re
from pathlib import Path
status = Path("/proc/self/status")
found = re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text()) if status.exists() else None
print({PEAK!r} + (found[1] if found else "unknown"))
"""
"""What the parent is told of a child counts the parent's own memory at the fork, so the child reads its peak itself."""


@dataclass(frozen=True)
class Run:
    """Hold one whole process, its start included. cpu_s: of all its cores; None where the system does not say."""

    seconds: float
    cpu_s: float | None
    peak_mb: float | None


def runs_of(
    video: Path,
    folder: Path,
    model: str,
    engine: str,
    against: str | None,
    rounds: int,
    report: Callable[[str], None],
    fast: bool = False,
) -> dict[str, Any]:
    """Return the medians of whole runs on a video, in alternation with those of another program."""
    target = folder / "result.mp4"
    ours = (
        "from osediff_video import Encoding, UpscaleOptions, upscale\n"
        f"upscale({str(video)!r}, {str(target)!r}, model={model!r}, engine={engine!r}, overwrite=True,\n"
        f"        options=UpscaleOptions(fast={fast}),\n"
        f"        encoding=Encoding('libx264', {CRF}, {PRESET!r}, 'yuv420p'))"
    )
    programs = {"upscale": ours}
    if against is not None:
        more = f", {model!r}, {fast}" if against == "plain" else ""
        programs[against] = (
            f"from osediff_video.workflow.peers import {against}\n{against}({str(video)!r}, {str(target)!r}{more})"
        )
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for number in range(rounds):
        for name, code in programs.items():
            report(f"run {number + 1} of {rounds}: {name}")
            target.unlink(missing_ok=True)
            runs[name].append(whole_process(code))
    frames, megapixels = content(target)
    row: dict[str, Any] = {"video": video.name, "frames": frames, "rounds": rounds}
    for name, several in runs.items():
        seconds = statistics.median(run.seconds for run in several)
        row[name] = {
            "fps": round(frames / seconds, 2),
            "mp_per_s": round(megapixels / seconds, 2),
            **{key: middle([asdict(run)[key] for run in several]) for key in ("seconds", "cpu_s", "peak_mb")},
        }
    if against is not None:
        pairs = zip(runs[against], runs["upscale"], strict=True)
        ratios = [theirs.seconds / own.seconds for theirs, own in pairs]
        row["times_as_fast"] = round(statistics.median(ratios), 2)
    return row


def middle(values: Sequence[float | None]) -> float | None:
    """Return the median, or None where something was not measured."""
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 2) if len(known) == len(values) else None


def whole_process(code: str) -> Run:
    """Run Python code in a process of its own and return what it took. Raises MediaError with its last words."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as words:
        child = subprocess.Popen([sys.executable, "-c", f"{code}\n{SAY_PEAK}"], stdout=words, stderr=words)
        if hasattr(os, "wait4"):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            cpu_s = used.ru_utime + used.ru_stime
        else:
            child.wait()
            cpu_s = None
        seconds = time.perf_counter() - started
        words.seek(0)
        lines = words.read().decode(errors="replace").strip().splitlines() or ["no word of why"]
        if child.returncode:
            raise MediaError(f"a measured run failed with exit code {child.returncode}: {lines[-1]}")
    peak_kb = lines[-1].removeprefix(PEAK)
    return Run(seconds, cpu_s, int(peak_kb) * 1.024e-3 if peak_kb.isdigit() else None)


def content(path: Path) -> tuple[int, float]:
    """Return how many frames a video has, and how many million pixels they are together."""
    with av.open(str(path)) as reader:
        stream = reader.streams.video[0]
        frames = sum(1 for packet in reader.demux(stream) if packet.size)
        return frames, frames * stream.height * stream.width / 1e6
