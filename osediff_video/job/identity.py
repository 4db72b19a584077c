"""Tell one source from another by a stamp that is quick to compare, and by the hash of all it holds."""

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from image_core.errors import MediaError
from osediff_video.media.reading.stdin import PIPE
from osediff_video.sources.folder import is_sequence, list_frames

BLOCK_BYTES = 1 << 20
_HASHES: dict[str, str] = {}
"""Hashes of what was read, by stamps."""


@dataclass(frozen=True)
class Identity:
    """Identify the sources of a job.

    stamp: hash of names, sizes, times and inodes. The system renews the time of change with every write, so the
    content behind an equal stamp is equal; not so on Windows, which keeps no such time.
    sha256: of all bytes, by which a copied or touched file is still known.
    """

    stamp: str
    sha256: str


def identify(sources: Sequence[Path]) -> Identity:
    """Read and hash the sources. Raises MediaError for one that cannot be read, or changes meanwhile."""
    stamp = stamp_of(sources)
    digest = hashlib.sha256()
    for path in files_of(sources):
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            raise MediaError(f"{path}: cannot be read ({error})") from error
    if stamp_of(sources) != stamp:
        raise MediaError(f"{sources[0]}: changes while it is read; run again when it is complete")
    return Identity(stamp, digest.hexdigest())


def identify_beside(sources: Sequence[Path]) -> "Future[Identity]":
    """Run `identify` in a thread of its own, which reads while others work and keeps no program alive."""
    result: Future[Identity] = Future()

    def work() -> None:
        try:
            result.set_result(identify(sources))
        except BaseException as error:  # raised where the result is asked for
            result.set_exception(error)

    threading.Thread(target=work, name="identify", daemon=True).start()
    return result


def is_unchanged(sources: Sequence[Path], before: Identity) -> bool:
    """Return whether the sources are unchanged; they are read only if their stamp differs. Raises MediaError."""
    stamp = stamp_of(sources)
    if os.name == "nt":
        return identify(sources).sha256 == before.sha256
    if stamp == before.stamp:
        return True
    if stamp not in _HASHES:  # a process that makes many segments reads a copy once
        _HASHES[stamp] = identify(sources).sha256
    return _HASHES[stamp] == before.sha256


def stamp_of(sources: Sequence[Path]) -> str:
    """Return the hash of what the file system says of the sources. Raises MediaError for a missing one."""
    facts = []
    for path in files_of(sources):
        try:
            status = path.stat()
        except OSError as error:
            raise MediaError(f"{path}: no such file any more ({error})") from error
        facts.append((path.name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def files_of(sources: Sequence[Path]) -> list[Path]:
    """Return the files whose content counts, including those in folders of frames; a pipe can be read only once."""
    files: list[Path] = []
    for source in (source for source in sources if source != PIPE):
        if is_sequence(source):
            files += list_frames(source)
        elif source.is_file():
            files.append(source)
    return files
