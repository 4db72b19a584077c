"""Read videos from standard input: `-` as the source."""

import functools
import sys
from pathlib import Path
from typing import BinaryIO

from image_core.errors import MediaError

PIPE = Path("-")
REMEMBERED_BYTES = 256 << 20


class Replay:
    """Read a stream that cannot seek several times from its beginning, while that is still buffered.

    Looking at the header and the first frames, and then reading the video, are separate openings of the same input.
    """

    name = str(PIPE)  # by which PyAV calls it, too

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.past, self.position = stream, bytearray(), 0
        self.overflowed = False

    def read(self, size: int) -> bytes:
        if self.position < len(self.past):
            known = bytes(self.past[self.position : self.position + size])
            self.position += len(known)
            return known
        fresh = self.stream.read(size) or b""
        self.position += len(fresh)
        if len(self.past) + len(fresh) <= REMEMBERED_BYTES and not self.overflowed:
            self.past += fresh
        else:
            self.overflowed = True
            self.past.clear()
        return fresh

    def rewind(self) -> "Replay":
        """Return to the beginning. Raises MediaError when that is no longer buffered."""
        if self.overflowed:
            raise MediaError(f"standard input: more than {REMEMBERED_BYTES >> 20} MB had to be read to know what it is")
        self.position = 0
        return self


def standard_input() -> Replay:
    return replay_of(sys.stdin.buffer)


@functools.lru_cache(maxsize=1)
def replay_of(stream: BinaryIO) -> Replay:
    """Return the one reader of a stream: what was read of it before is part of it. Another stream is another video."""
    return Replay(stream)
