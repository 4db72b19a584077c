"""Let a stage run ahead of its reader in threads of its own, bounded in what it holds."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from image_core.errors import MediaError

S = TypeVar("S")
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


def in_threads(items: Iterable[S], work: Callable[[S], T], count: int) -> Generator[T, None, None]:
    """Yield `work` of every item, in order, while `count` threads do it for those that follow.

    With 1 the reader does it himself. An exception of an item or its work is raised here, after those before it.
    """
    if count == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(count)
    try:
        for future in early(submitted(items, work, pool), count):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def submitted(items: Iterable[S], work: Callable[[S], T], pool: Executor) -> Iterator[Future[T]]:
    """Yield what becomes of every item; of one that could not be read, its exception, which is the last."""
    try:
        for item in items:
            yield pool.submit(work, item)
    except Exception as error:
        failed: Future[T] = Future()
        failed.set_exception(error)
        yield failed


def early(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield items once `count` more were made."""
    held: deque[T] = deque()
    for item in items:
        held.append(item)
        if len(held) > count:
            yield held.popleft()
    yield from held


def _next(ready: "queue.Queue[T]", watch: Callable[[], None]) -> T:
    while True:
        try:
            return ready.get(timeout=1)
        except queue.Empty:
            watch()
