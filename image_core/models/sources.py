"""Define what one source of downloads may do.

Give, refuse, be busy, send too much; and how a file is told from another.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import HfFileMetadata

from image_core.errors import DownloadError

SPACE = "space:"
"""Before OWNER/NAME: a space of the Hub instead of a model."""

PASSING_WORDS = ("no answer in time", ": 408", ": 425", ": 429", ": 5")


@dataclass(frozen=True)
class Download:
    """List files that belong together.

    folder: where they are kept, below that of all downloads. sources: tried in this order, each "owner/name" on the
    Hub, "space:owner/name" of a space there, or the address of a folder. files: path -> sha256, or the id of its git
    blob (40 digits), None where only the Hub's own word is known. by_hand: what to do when no source answers.
    """

    folder: str
    sources: tuple[str, ...]
    files: Mapping[str, str | None]
    by_hand: str


class SourceError(Exception):
    """Report that one source cannot give a file; the next may."""


@dataclass
class Sources:
    """Order the sources of a download.

    order: those left to ask. gone: why others are not asked again.
    """

    order: list[str]
    gone: dict[str, str] = field(default_factory=dict)

    def failed(self, source: str, reason: str, *, for_now: bool) -> None:
        """Ask a source last from now on, when it is busy, or never again."""
        self.order.remove(source)
        if for_now:
            self.order.append(source)
        else:
            self.gone[source] = reason


def failure(download: Download, path: str, folder: Path, reasons: Mapping[str, str]) -> DownloadError:
    """Return the error for a file that no source gave; every reason, and the way by hand, are notes of it."""
    error = DownloadError(f"{path} of {download.folder} could not be downloaded from any of {len(reasons)} sources")
    for source, reason in reasons.items():
        error.add_note(f"{source}: {reason}")
    missing = ", ".join(name for name in download.files if not (folder / name).is_file())
    error.add_note(f"Missing: {missing}")
    if any(message in reason for reason in reasons.values() for message in PASSING_WORDS):
        error.add_note("Some sources are busy or slow: try again later; what was downloaded is kept.")
    error.add_note(f"By hand: {download.by_hand.format(folder=folder)}")
    return error


def is_passing(error: Exception) -> bool:
    """Tell whether the same request may well succeed later: a time-out, or a server that is busy or broken."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 425, 429) or error.response.status_code >= 500
    return any(kind.__name__ == "TimeoutException" for kind in type(error).__mro__)


class Bounded:
    """Write to a file, but no more than so many bytes. Raises SourceError for the first beyond."""

    def __init__(self, file: Any, most: int) -> None:
        self.file, self.most = file, most

    def write(self, data: bytes) -> int:
        if self.file.tell() + len(data) > self.most:
            raise SourceError(f"sends more than the expected {amount(self.most)}; the partial file was removed")
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def open_no_link(path: Path) -> BinaryIO:
    """Open a file to append to, for its owner alone, and never one that a link leads to."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o600), "ab")


def note_of(file: Path) -> Path:
    """Return where the hash is kept that the Hub gave for a file."""
    return file.with_name(f".{file.name}.hash")


def read_note(file: Path) -> str | None:
    """Return the hash that was noted when a file came; None where there is none."""
    try:
        noted = note_of(file).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return noted if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", noted) else None


def content_digest(facts: HfFileMetadata) -> str | None:
    """Return the Hub's digest of a file's content: sha256 of large ones, git's sha1 of small ones."""
    etag = facts.etag or ""
    return etag if len(etag) in (40, 64) and all(sign in "0123456789abcdef" for sign in etag) else None


def matches(path: Path, digest: str) -> bool:
    """Return whether a file has this sha256 (64 digits) or this git blob id (40 signs)."""
    with path.open("rb") as file:
        if len(digest) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
        actual = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while block := file.read(1 << 20):
            actual.update(block)
        return actual.hexdigest() == digest


def in_short(error: Exception) -> str:
    """Shorten an error to a few words: the libraries' messages run over several lines."""
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    if is_passing(error):
        return "no answer in time"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def amount(size: int) -> str:
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
