"""Let several threads use the model beside each other, or one alone, which may change how it computes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Count the calls that are inside together, and keep all others out while one is alone.

    Whoever waits to be alone goes first, so that a stream of calls cannot keep it waiting.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._inside = self._waiting = self._depth = 0
        self._owner: int | None = None

    def enter(self, most: int) -> None:
        """Let the caller in once fewer than `most` are inside and none is or wants to be alone. `leave` must follow."""
        with self._change:
            self._change.wait_for(lambda: self._owner is None and not self._waiting and self._inside < most)
            self._inside += 1

    def leave(self) -> None:
        """Make room, from any thread."""
        with self._change:
            self._inside -= 1
            self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let the caller in once nobody is inside, and nobody else. A thread may nest it."""
        me = threading.get_ident()
        with self._change:
            if self._owner != me:
                self._waiting += 1
                try:
                    self._change.wait_for(lambda: self._owner is None and not self._inside)
                finally:
                    self._waiting -= 1
                self._owner = me
            self._depth += 1
        try:
            yield
        finally:
            with self._change:
                self._depth -= 1
                if not self._depth:
                    self._owner = None
                self._change.notify_all()
