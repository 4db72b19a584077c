"""Keep files that were shipped to this machine, known by what they hold, so that each is shipped once."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from image_core.errors import OutputError
from image_core.storage.files import sha256
from osediff_video.job.order import Order

CONTENT = "content"


class Shelf:
    """Hold contents in a folder of this user's own, each in a folder named by its SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be created ({error})") from error
        if folder.is_symlink() or (os.name != "nt" and folder.stat().st_uid != os.geteuid()):
            raise OutputError(f"{folder}: is needed for files from other machines, but belongs to somebody else")

    def lacks(self, digests: list[str]) -> list[str]:
        """Return those contents that are not here."""
        return [digest for digest in digests if not (self.folder / digest / CONTENT).is_file()]

    def take(self, digest: str, offset: int, chunk: bytes, last: bool) -> None:
        """Add a part of a content; the last one makes it whole. Raises OutputError."""
        part = self.folder / f"{digest}.{os.getpid()}.part"
        try:
            with part.open("r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(chunk)
            if not last:
                return
            if sha256(part) != digest:
                part.unlink()
                raise OutputError(f"{part}: arrived damaged")
            (self.folder / digest).mkdir(exist_ok=True)
            part.replace(self.folder / digest / CONTENT)
        except OSError as error:
            raise OutputError(f"{part}: cannot be written ({error})") from error

    def named(self, digest: str, name: str) -> Path:
        """Return a content under a name, as what reads it expects."""
        return self._link(digest, self.folder / digest / "named" / Path(name).name)

    def folder_of(self, files: Mapping[str, str]) -> Path:
        """Return a folder with these contents under these relative names."""
        key = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
        for name, digest in files.items():
            self._link(digest, self.folder / key / "folder" / name)
        return self.folder / key / "folder"

    def placed(self, order: Order, shipped: Mapping[str, str]) -> Order:
        """Return an order whose files lie here where they were shipped. shipped: digests by path."""

        def here(path: str) -> str:
            return str(self.named(shipped[path], path)) if path in shipped else path

        given = order.options
        shots = None if given.shots is None else here(given.shots)
        options = replace(given, cuts=here(given.cuts), flow=here(given.flow), shots=shots)
        return replace(order, source=Path(here(str(order.source))), options=options)

    def _link(self, digest: str, path: Path) -> Path:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            content = self.folder / digest / CONTENT
            part = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                os.link(content, part)
            except OSError:  # a file system without links
                shutil.copyfile(content, part)
            part.replace(path)
        return path
