"""Say in rows and sentences what a source holds and what becomes of it, in the types of JSON."""

from collections.abc import Sequence
from typing import Any

from osediff_video import ImagePlan, Preview, VideoPlan
from page.queue import Entry

Row = tuple[str, str, str]
"""A name, what is there, and what becomes of it."""


def facts_of(plan: VideoPlan | ImagePlan) -> dict[str, Any]:
    """Return the rows of the table below a source, and the notes."""
    rows = image_rows(plan) if isinstance(plan, ImagePlan) else video_rows(plan)
    return {"rows": rows, "notes": list(plan.notes)}


def image_rows(plan: ImagePlan) -> list[Row]:
    height, width = plan.source_size
    rows = [
        ("Image", f"{width} x {height}, {plan.bit_depth} bit", f"{plan.width} x {plan.height}, {plan.target.suffix}"),
        ("Transparency", "yes", "enlarged with the image" if not lost(plan.notes, "transparency") else "lost"),
    ]
    return rows if plan.alpha else rows[:1]


def video_rows(plan: VideoPlan) -> list[Row]:
    info, encoder = plan.info, plan.encoder
    rate = f"{float(info.frame_rate):.3f}".rstrip("0").rstrip(".")
    frames = f"about {info.frame_count_estimate} frames, " if info.frame_count_estimate else ""
    length = f"{clock(info.duration_s)}, " if info.duration_s else ""
    rows: list[Row] = [
        ("Images", f"{info.width} x {info.height}, {info.codec or 'images'}, {info.bit_depth} bit",
         f"{plan.width} x {plan.height}, {encoder.codec}, {encoder.pix_fmt}"),
        ("Time", f"{length}{frames}{rate} a second", "every frame at its time"),
    ]  # fmt: skip
    for stream in plan.streams:
        if stream.action != "upscale":
            where = f"Stream {stream.index}" if stream.index >= 0 else "File"
            rows.append((f"{where}: {stream.kind}", stream.codec, stream.fate))
    return rows


def lost(notes: Sequence[str], word: str) -> bool:
    return any(word in note and "lost" in note for note in notes)


def estimate_of(preview: Preview) -> str:
    """Return what a preview measured, in a sentence."""
    if preview.frames == 1 and preview.whole_s is not None:
        measured = f"Measured here on the middle of the image: the whole takes about {clock(preview.whole_s)}"
    else:
        measured = f"Measured here: {preview.frames / preview.elapsed_s:.2f} frames a second"
        measured += f"; the whole takes about {clock(preview.whole_s)}" if preview.whole_s is not None else ""
    if preview.whole_bytes is None:
        return f"{measured}."
    twice = ", and as much again while it works" if preview.frames > 1 else ""
    return f"{measured} and about {size_of(preview.whole_bytes)} of disk{twice}."


def entry_facts(entry: Entry) -> dict[str, Any]:
    """Return one row of the queue."""
    progress, request = entry.progress, entry.request
    total = progress.total if progress else None
    frames = progress.frames if progress else entry.frames
    share = min(1.0, frames / total) if frames is not None and total else None
    return {
        "number": entry.number,
        "name": name_of(request.target),
        "place": request.target,
        "state": entry.state,
        "ok": entry.ok,
        "share": share,
        "detail": detail_of(entry, frames, total),
        "lines": list(entry.lines),
    }


def detail_of(entry: Entry, frames: int | None, total: int | None) -> str:
    """Return how far a request is, in words."""
    if entry.state == "running":
        progress = entry.progress
        if progress is None:
            return "reading the source and loading the model"
        left = f", about {clock(progress.eta_s)} left" if progress.eta_s is not None else ""
        if entry.request.is_image:
            return f"{frames} %{left}"
        return f"frame {frames}{f' of {total}' if total else ''}, {progress.fps:.2f} a second{left}"
    if entry.state in ("waiting", "paused"):
        return f"{entry.state}, {frames} frames are finished" if frames else entry.state
    return ""


def name_of(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size_of(count: int) -> str:
    """Return a number of bytes in a unit that reads well."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{max(1, round(count / 1e3))} kB"
