"""Carry the chapters of a video, cut with it, with the gaps between them."""

from fractions import Fraction
from typing import Any

from av.container import InputContainer

from osediff_video.media.cut import Cut

SHORTEST_GAP_S = Fraction(1, 10)
"""Shorter ones are rounding."""


def carried_chapters(container: InputContainer, cut: Cut, container_format: str) -> list[Any]:
    """Return the chapters of `container` for a result of `container_format`, cut and moved with everything else.

    MP4 and MOV know only where chapters begin: a chapter without a title takes the place of each gap, and is left out
    where it comes from such a file.
    """
    chapters = []
    for chapter in container.chapters():
        base = Fraction(chapter["time_base"] or 1)
        start, end = chapter["start"] * base, chapter["end"] * base
        if cut:
            first, last = cut.start_s or Fraction(0), cut.end_s if cut.end_s is not None else end
            if end <= first or start >= last:
                continue
            start, end = max(start, first) - cut.shift_s, min(end, last) - cut.shift_s
        chapters.append({**chapter, "start": round(start / base), "end": round(end / base), "time_base": base})
    if "mp4" in container.format.name and any(title_of(chapter) for chapter in chapters):
        chapters = [chapter for chapter in chapters if title_of(chapter)]
    return with_gaps(chapters) if container_format in ("mp4", "mov") else chapters


def title_of(chapter: dict[str, Any]) -> str:
    return str(chapter["metadata"].get("title", ""))


def with_gaps(chapters: list[Any]) -> list[Any]:
    """Return chapters that follow each other, with untitled ones where there is a gap."""
    filled: list[Any] = []
    end_s = Fraction(0)
    for chapter in sorted(chapters, key=lambda chapter: chapter["start"] * chapter["time_base"]):
        start_s, base = chapter["start"] * chapter["time_base"], chapter["time_base"]
        if start_s - end_s >= SHORTEST_GAP_S:
            gap = {"id": 0, "start": round(end_s / base), "end": chapter["start"], "time_base": base}
            filled.append({**gap, "metadata": {"title": ""}})
        filled.append(chapter)
        end_s = chapter["end"] * base
    return [{**chapter, "id": number} for number, chapter in enumerate(filled, 1)]
