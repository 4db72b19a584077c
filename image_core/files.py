"""Write files whole or not at all, and hash them."""

import hashlib
import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace a small file atomically, on the disk when this returns."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
