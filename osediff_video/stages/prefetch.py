"""Let a stage run ahead of its reader in a thread of its own, within a bounded queue."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from image_core.errors import MediaError

T = TypeVar("T")


class StageHangsError(MediaError):
    """Report that a stage shows no sign of life; its thread is left behind."""


class _End:
    """Mark the end of a queue; carries what the stage raised, if anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int, watch: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """Yield `items` in order while a thread computes up to `depth` of them in advance.

    An exception of the stage is raised here, after the items before it. When the reader stops early, the thread ends
    at its next item and the stage's `finally` blocks run before this generator is closed. watch: called every second
    while the reader waits; it may raise StageHangsError.
    """
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        iterator, error = iter(items), None
        try:
            for item in iterator:
                put(item)
                if stopped.is_set():
                    break
        except BaseException as caught:  # handed to the reader, who raises it
            error = caught
        finally:
            if hasattr(iterator, "close"):
                iterator.close()
            put(_End(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    patience_s: float | None = None
    try:
        while not isinstance(item := _next(ready, watch), _End):
            yield item
        if item.error is not None:
            raise item.error
    except StageHangsError:
        patience_s = 0
        raise
    finally:
        stopped.set()
        thread.join(patience_s)


def _next(ready: "queue.Queue[T]", watch: Callable[[], None]) -> T:
    while True:
        try:
            return ready.get(timeout=1)
        except queue.Empty:
            watch()
