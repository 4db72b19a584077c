"""Write files whole or not at all, and hash them."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a new empty file beside `path` to write into, which takes the name `path` when the block ends well.

    It is on the disk before it takes the name, and gone when the block raises; what stood at `path` then stays. Its
    name cannot be guessed and it is created exclusively, so that a link planted in a shared folder is never followed;
    a link at `path` itself is replaced, not written through. An existing file's permissions are kept. The suffix is
    that of `path`, for writers that go by it. Raises OSError.
    """
    part = path.with_name(f".osediff-{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        if path.is_file() and not path.is_symlink():
            part.chmod(path.stat().st_mode & 0o777)
        flush_to_disk(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Return when the content of a file is on the disk, not only in the system's cache. Raises OSError."""
    file = os.open(path, os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_whole(path: Path, text: str) -> None:
    """Replace a small file of text (UTF-8) atomically, on the disk when this returns. Raises OSError."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
