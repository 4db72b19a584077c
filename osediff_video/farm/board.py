"""Keep account of what is to be done, longest first, by whom it is being done, and where it failed."""

import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

MOST_ON_A_NODE = 2
"""How often a piece is tried on one node: what fails twice there is that node's fault, or the piece's."""

MOST_FAILURES = 4
"""Of a piece, on all nodes together, before it is given up."""

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


@dataclass
class Board:
    """Hold all pieces that are known and not done. Workers and nodes are known by their names."""

    waiting: list[Piece] = field(default_factory=list)
    running: dict[str, tuple[Piece, float]] = field(default_factory=dict)
    failures: Counter[tuple[Piece, str]] = field(default_factory=Counter)
    in_a_row: Counter[str] = field(default_factory=Counter)
    rates: list[float] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Add a piece to do."""
        self.waiting.append(piece)
        self.waiting.sort(key=lambda one: one.order, reverse=True)

    def begin(self, worker: str, node: str) -> Piece | None:
        """Return what a worker is to do next; None where there is nothing for it."""
        if self.is_bad(node):
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

    def done(self, worker: str, node: str) -> Piece:
        """Count the piece of a worker as done, and return it."""
        piece, begun = self.running.pop(worker)
        self.in_a_row[node] = 0
        if piece.kind == "segment":
            self.rates.append((time.monotonic() - begun) / piece.cost)
        return piece

    def lost(self, worker: str) -> Piece | None:
        """Put back what a worker did that is no more, and return it."""
        return self._back(worker)

    def failed(self, worker: str, node: str) -> tuple[Piece, bool]:
        """Put back what failed on a node, or give it up; return it, and whether it is given up."""
        piece = self.running[worker][0]
        self.failures[piece, node] += 1
        self.in_a_row[node] += 1
        given_up = sum(count for (one, _), count in self.failures.items() if one == piece) >= MOST_FAILURES
        if given_up:
            self.drop(piece.video)
        else:
            self._back(worker)
        return piece, given_up

    def drop(self, video: int) -> None:
        """Forget everything of a video."""
        self.waiting = [piece for piece in self.waiting if piece.video != video]
        self.running = {worker: pair for worker, pair in self.running.items() if pair[0].video != video}

    def is_bad(self, node: str) -> bool:
        """Return whether everything fails on a node."""
        return self.in_a_row[node] >= BAD_NODE

    def is_open(self, piece: Piece) -> bool:
        """Return whether a piece is still to be done, or being done."""
        return piece in self.waiting or any(one == piece for one, _ in self.running.values())

    def _back(self, worker: str) -> Piece | None:
        pair = self.running.pop(worker, None)
        if pair is None:
            return None
        if not self.is_open(pair[0]):
            self.add(pair[0])
        return pair[0]
