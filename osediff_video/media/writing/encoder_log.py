"""Read the log of an encoder while it opens: what it passes over, and why it fails, stands nowhere else."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import av.logging

from image_core.errors import OutputError
from osediff_video.media.container import reason

IGNORED = re.compile(r"Error parsing option '?(\S+)|Unknown option: (\S+)|Invalid value for (\S+)")
"""What encoders say of a setting within x264-params, x265-params or svtav1-params that they pass over."""


@contextmanager
def refusing_ignored(codec: str) -> Iterator[None]:
    """Raise OutputError when the encoder that is opened inside passes over a setting."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # the second of two equal messages counts too
    try:
        with av.logging.Capture() as messages:
            yield
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    for _, name, message in messages:
        if name == codec and (match := IGNORED.search(message)):
            setting = next(filter(None, match.groups())).strip("':.")
            words = message.strip().rstrip(".")
            raise OutputError(f"{codec} passes over the setting {setting} ({words}); correct it or leave it out")


def words_of(error: Exception) -> str:
    """Return why an encoder failed, in its own words where it has some."""
    log = getattr(error, "log", None)
    return log[2].strip().rstrip(".") if log else reason(error)
