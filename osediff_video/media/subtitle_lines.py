"""Split subtitle lines that show at the same time, for containers that show one text at a time."""

from dataclasses import dataclass, replace

NEXT_LINE = b"{\\r}\\N"
"""Ends the styles of a line and begins another, in ASS."""

UNSAID_MS = 5000
"""How long a line shows at most whose end is not said."""


@dataclass(frozen=True)
class Line:
    """Hold a text and when it shows, in milliseconds.

    event: in the syntax of ASS, eight fields before the text. has_end: the file says when it ends.
    """

    start: int
    end: int
    event: bytes
    has_end: bool = True


class LineSplitter:
    """Turn lines that may overlap into spans that do not: cut at every start and end, with the texts joined."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.written = 0

    def add(self, line: Line) -> list[Line]:
        """Take the next line of the file; return the spans that end before it begins."""
        if line.end <= line.start:
            line = replace(line, end=line.start + UNSAID_MS, has_end=False)
        # a line without an end gives way to the next one
        self.lines = [
            old if old.has_end or old.start >= line.start else replace(old, end=min(old.end, line.start))
            for old in self.lines
        ]
        self.lines.append(line)
        return self.until(line.start)

    def until(self, time: int) -> list[Line]:
        """Return the spans that end at `time` or before, in order; each is returned once."""
        spans = []
        while self.lines:
            begin = max(self.written, min(line.start for line in self.lines))
            shown = [line for line in self.lines if line.start <= begin < line.end]
            later = [line.start for line in self.lines if line.start > begin]
            end = min([line.end for line in shown] + later, default=begin)
            if end > time:
                break
            if shown:
                spans.append(Line(begin, end, joined([line.event for line in shown])))
            self.written = max(self.written, end)
            self.lines = [line for line in self.lines if line.end > self.written]
        return spans

    def rest(self) -> list[Line]:
        """Return the spans that are left."""
        return self.until(max((line.end for line in self.lines), default=0))


def joined(events: list[bytes]) -> bytes:
    """Return one event with the texts of all, each on a line of its own."""
    first, *others = dict.fromkeys(events)
    return NEXT_LINE.join([first, *(text_of(event) for event in others)])


def text_of(event: bytes) -> bytes:
    """Return the text of an event without the fields before it."""
    return event.split(b",", 8)[-1]
