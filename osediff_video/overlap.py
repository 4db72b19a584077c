"""Let a stage run ahead of its reader in a thread of its own, within a bounded queue."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


class _End:
    """Sent last; carries what the stage raised, if anything."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yield `items` in order while a thread computes up to `depth` of them in advance.

    An exception of the stage is raised here, after the items before it. When the reader stops early, the thread ends
    at its next item and the stage's `finally` blocks run before this generator is closed.
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
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()
