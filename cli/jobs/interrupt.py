"""Stop once: a second Ctrl-C cannot break into what the first one puts in order."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 2.0
"""Ctrl-C pressed again within this time is the same wish; later it means that stopping takes too long."""

STOPPED = 130
"""What shells expect of a program that was interrupted."""


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Let the first SIGINT raise KeyboardInterrupt, ignore those soon after it, and end the process at a later one.

    Unfinished work is safe against being ended anywhere; what a second exception could break is the tidy last line.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield  # somebody else decides: a program around us, or a shell that started us in the background
        return
    first_s: list[float] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        if not first_s:
            first_s.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() - first_s[0] > GRACE_S:
            os._exit(STOPPED)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        if not first_s:  # after an interrupt the interpreter still has threads to join
            signal.signal(signal.SIGINT, usual)
