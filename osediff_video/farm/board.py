"""Keep account of what is to be done, longest first, by whom it is being done, and where it failed."""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_ON_A_NODE = 2
"""How often a piece is tried on one node: what fails twice there is that node's fault, or the piece's."""

MOST_FAILURES = 4
"""Of a piece, on all nodes together, before it is given up."""

MOST_LOSSES = 8
"""Workers that a piece is lost with before it is given up: it may be what ends them, though machines do go."""

BAD_NODE = 3
"""Failures in a row, with no success between, after which a node gets nothing any more."""

SLOW, LEAST_SLOW_S = 3.0, 20.0
"""A piece that takes so many times as long as usual is begun once more by a worker that would be idle."""


@dataclass(frozen=True)
class Piece:
    """Hold one thing to do for a video: "manifest", "survey", or the segment `index`. cost: how long, relatively."""

    video: int
    kind: str
    index: int = 0
    cost: float = 0.0

    @property
    def order(self) -> tuple[bool, bool, float]:
        """Return what sorts pieces: what others wait for comes first, then the longest."""
        return self.kind == "manifest", self.kind == "survey", self.cost

    def __str__(self) -> str:
        return f"segment {self.index}" if self.kind == "segment" else "reading it once"


@dataclass
class Board:
    """Hold all pieces that are known and not done. Workers and nodes are known by their names."""

    waiting: list[Piece] = field(default_factory=list)
    running: dict[str, tuple[Piece, float]] = field(default_factory=dict)
    failures: Counter[tuple[Piece, str]] = field(default_factory=Counter)
    losses: Counter[Piece] = field(default_factory=Counter)
    in_a_row: Counter[str] = field(default_factory=Counter)
    rates: list[float] = field(default_factory=list)

    def add(self, piece: Piece, *, first: bool = False) -> None:
        """Add a piece to do. first: before others of the same cost."""
        self.waiting.insert(0 if first else len(self.waiting), piece)
        self.waiting.sort(key=lambda one: one.order, reverse=True)

    def begin(self, worker: str, node: str) -> Piece | None:
        """Return what a worker is to do next; None where there is nothing for it."""
        if node in self.bad:
            return None
        piece = next((one for one in self.waiting if self.failures[one, node] < MOST_ON_A_NODE), None)
        if piece is not None:
            self.waiting.remove(piece)
        else:
            piece = self.slowest()
        if piece is not None:
            self.running[worker] = (piece, time.monotonic())
        return piece

    def slowest(self) -> Piece | None:
        """Return the segment that takes far longer than usual, if it is made only once."""
        if not self.rates:
            return None
        usual, now = statistics.median(self.rates), time.monotonic()
        doubled = Counter(piece for piece, _ in self.running.values())
        late = [
            (now - begun, piece)
            for piece, begun in self.running.values()
            if piece.kind == "segment" and doubled[piece] == 1
            if now - begun > max(LEAST_SLOW_S, SLOW * usual * piece.cost)
        ]
        return max(late, key=lambda pair: pair[0])[1] if late else None

    def done(self, worker: str, node: str) -> tuple[Piece, list[str]]:
        """Count the piece of a worker as done; return it, and the workers that do it too, in vain."""
        piece, begun = self.running.pop(worker)
        self.in_a_row[node] = 0
        if piece.kind == "segment":
            self.rates.append((time.monotonic() - begun) / piece.cost)
        return piece, self._take_away(lambda one: one == piece)

    def lost(self, worker: str) -> tuple[Piece | None, bool]:
        """Put back what a lost worker did, to be made next, or give it up; return it, and whether it is given up."""
        piece = self.running[worker][0] if worker in self.running else None
        if piece is None:
            return None, False
        self.losses[piece] += 1
        return piece, self._back(worker, self.losses[piece] >= MOST_LOSSES, first=True)

    def failed(self, worker: str, node: str) -> tuple[Piece, bool]:
        """Put back what failed on a node, or give it up; return it, and whether it is given up."""
        piece = self.running[worker][0]
        self.failures[piece, node] += 1
        self.in_a_row[node] += 1
        failures = sum(count for (one, _), count in self.failures.items() if one == piece)
        return piece, self._back(worker, failures >= MOST_FAILURES)

    def drop(self, video: int) -> list[str]:
        """Forget everything of a video, and return the workers that were busy with it."""
        self.waiting = [piece for piece in self.waiting if piece.video != video]
        return self._take_away(lambda piece: piece.video == video)

    @property
    def bad(self) -> set[str]:
        """Return the nodes where everything fails."""
        return {node for node, count in self.in_a_row.items() if count >= BAD_NODE}

    def _back(self, worker: str, given_up: bool, *, first: bool = False) -> bool:
        piece, _ = self.running.pop(worker)
        if given_up:
            self.drop(piece.video)
        elif not any(one == piece for one, _ in self.running.values()):
            self.add(piece, first=first)
        return given_up

    def _take_away(self, which: Callable[[Piece], bool]) -> list[str]:
        busy = [worker for worker, (piece, _) in self.running.items() if which(piece)]
        for worker in busy:
            del self.running[worker]
        return busy
