"""Take a segment in that a worker sends: frames done, then its file in pieces, then its record."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass
class Incoming:
    """Hold a segment on its way. part: its file as far as it came. frames: done so far."""

    part: Path
    frames: int = 0
    file: BinaryIO | None = None
    record: dict[str, Any] | None = None

    def take(self, item: Any) -> None:
        """Accept what a worker yields. Raises OSError."""
        if isinstance(item, int):
            self.frames = item
        elif isinstance(item, bytes):
            self.file = self.file or self.part.open("wb")
            self.file.write(item)
        else:
            self.record = item

    def close(self) -> None:
        """Close the file, so that it can be read. Raises OSError."""
        if self.file is not None:
            self.file.close()

    def discard(self) -> None:
        """Remove what arrived."""
        try:
            self.close()
        finally:
            self.part.unlink(missing_ok=True)


def expect(folder: Path) -> Incoming:
    """Return a segment of which nothing has come yet. folder: of the job that it is to join."""
    return Incoming(folder / f".osediff-{secrets.token_hex(8)}.mkv")
