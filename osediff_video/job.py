"""The resumable job: a folder beside the target that holds what is finished, and says of what it is the result."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from image_core.errors import OutputError
from image_core.files import write_whole
from osediff_video.media.segment import Segment, load_segments
from osediff_video.sources.folder import list_frames

MANIFEST = "manifest.json"
JOB_FORMAT = 1
HASHED_BYTES = 1 << 20


def job_folder(target: Path) -> Path:
    return target.with_name(target.name + ".osediff")


def identity(source: Path) -> dict[str, Any]:
    """What tells one input from another without reading all of it: size, time, and hash of head and tail."""
    if source.is_dir():
        frames = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in list_frames(source)]
        return {"frames": len(frames), "sha256": hashlib.sha256(json.dumps(frames).encode()).hexdigest()}
    if not source.is_file():
        return {"pipe": str(source)}
    facts = source.stat()
    with source.open("rb") as file:
        digest = hashlib.sha256(file.read(HASHED_BYTES))
        file.seek(max(0, facts.st_size - HASHED_BYTES))
        digest.update(file.read(HASHED_BYTES))
    return {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns, "sha256": digest.hexdigest()}


@dataclass(frozen=True)
class Manifest:
    """What a job was begun with. settings: everything that decides the result, in JSON's types."""

    source: dict[str, Any]
    settings: dict[str, Any]

    def changes(self, other: "Manifest") -> list[str]:
        """In words, what differs in `other`."""
        found = ["the input file"] if self.source != other.source else []
        for key in sorted(self.settings.keys() | other.settings.keys()):
            before, after = self.settings.get(key), other.settings.get(key)
            if before != after:
                found.append(f"{key} ({before} then, {after} now)" if is_short(before, after) else key)
        return found


def is_short(*values: object) -> bool:
    return all(len(str(value)) < 40 for value in values)


class Job:
    """Holds the job's folder while it is worked on. Use as a context; raises OutputError when it cannot be had.

    segments: what was finished before. What else the folder holds is of an interrupted segment and is made again.
    """

    def __init__(self, target: Path, manifest: Manifest, *, restart: bool = False) -> None:
        self.folder, self.manifest = job_folder(target), manifest
        self.lock = FileLock(self.folder / "lock", timeout=0)
        self.restart = restart
        self.segments: list[Segment] = []

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(exist_ok=True)
            self.lock.acquire()
        except Timeout:
            raise OutputError(f"{self.folder}: another run is working on this result; wait for it") from None
        except OSError as error:
            raise OutputError(f"{self.folder}: the folder for unfinished work cannot be made ({error})") from error
        try:
            self.segments = self.finished()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.release()
        if kind is not None and self.folder.exists() and not load_segments(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)

    def finished(self) -> list[Segment]:
        path = self.folder / MANIFEST
        if self.restart:
            for old in self.folder.iterdir():
                if old.name != "lock":
                    old.unlink()
        if path.exists():
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                before = Manifest(values["source"], values["settings"])
                known = values["format"] == JOB_FORMAT
            except (OSError, ValueError, KeyError, TypeError):
                known = False
            if not known:
                raise OutputError(f"{path}: not readable as a job of this version; --restart begins anew")
            if changed := before.changes(self.manifest):
                raise OutputError(
                    f"{self.folder}: holds unfinished work of another kind: {', '.join(changed)} changed. Run the "
                    "first command again to finish it, or add --restart to begin anew"
                )
            return load_segments(self.folder)
        return []

    def begin(self) -> None:
        """Write the manifest, when the first segment is about to be."""
        values = {"format": JOB_FORMAT, "source": self.manifest.source, "settings": self.manifest.settings}
        write_whole(self.folder / MANIFEST, json.dumps(values, indent=1))

    def remove(self) -> None:
        """The result stands: the work is no longer needed."""
        self.lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
