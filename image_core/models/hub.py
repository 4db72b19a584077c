"""Download files from the Hub and plain addresses: mirrors in order, resumed, checked, whole or not at all.

huggingface_hub does the talking, but its own downloads begin anew after an interruption; ours go on, even at another
mirror.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from filelock import FileLock, Timeout
from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from image_core.errors import CheckpointError, DownloadError
from image_core.models.sources import (
    SPACE,
    Bounded,
    Download,
    SourceError,
    Sources,
    amount,
    content_digest,
    failure,
    in_short,
    is_passing,
    matches,
    note_of,
    open_no_link,
    read_note,
)
from image_core.storage.files import replacing, write_whole
from image_core.storage.json_file import read_object
from image_core.storage.tensors import refuse_stand_ins

Notify = Callable[[str], None]
MOST_BYTES = 8 << 30
"""Of a file whose length nobody names."""

PAUSES_S = (1.0, 4.0)


@dataclass(frozen=True)
class Fetcher:
    """Bring downloads to this machine.

    root: folder of all downloads. offline: use only what is here. endpoint: of the Hub; None is HF_ENDPOINT or
    huggingface.co. report: told in sentences.
    """

    root: Path
    offline: bool = False
    endpoint: str | None = None
    report: Notify = lambda _: None

    @property
    def is_offline(self) -> bool:
        return self.offline or is_offline_mode()

    def fetch(self, download: Download) -> Path:
        """Bring every file of `download`, and return their folder.

        What is there already, here or in the Hub's own cache, is not loaded again; what came of an interrupted file is
        kept. Raises DownloadError naming every source and its reason when none gives a file.
        """
        folder = self.root / download.folder
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # nobody else may plant a file where ours will be
        folder.mkdir(mode=0o700, exist_ok=True)
        sources = Sources(list(download.sources))
        try:
            with FileLock(str(self.root / f".{download.folder}.lock"), timeout=0):
                for path, digest in download.files.items():
                    file = folder / path
                    if file.is_file() and (problem := self.distrust(file, digest)):
                        file.unlink()
                        self.report(f"{file}: {problem}; it was removed")
                    if not file.is_file():
                        self.from_any(download, path, file, sources)
        except Timeout as error:
            raise DownloadError(
                f"{folder}: another process is downloading these files; wait for it to finish"
            ) from error
        return folder

    def distrust(self, file: Path, digest: str | None) -> str | None:
        """Say why a file that is here already is not to be used: by its hash, ours or noted when it came, or its looks.

        A file without any hash was put there by hand.
        """
        expected = digest or read_note(file)
        if expected:
            return None if matches(file, expected) else f"had a wrong hash (expected {expected[:12]}...)"
        try:
            refuse_stand_ins(file)
            if file.suffix == ".json":
                read_object(file, "settings")
        except CheckpointError as error:
            return str(error).removeprefix(f"{file}: ")
        return None

    def from_any(self, download: Download, path: str, file: Path, sources: "Sources") -> None:
        """Bring one file from the first source that gives it. Raises DownloadError."""
        reasons: dict[str, str] = {}
        for source in list(sources.order):
            try:
                self.obtain_patiently(source, path, download.files[path], file)
                return
            except (SourceError, HTTPError, OSError) as error:
                if isinstance(error, OSError) and error.errno:  # of this machine, not of the source
                    reason = "no room is left" if error.errno == errno.ENOSPC else str(error)
                    raise DownloadError(f"{file}: cannot be written: {reason}") from error
                reasons[source] = f"{path}: {in_short(error)}"
                sources.failed(source, reasons[source], for_now=is_passing(error))
                left = [other for other in download.sources if other not in reasons and other in sources.order]
                if left and not self.is_offline:
                    self.report(f"{source}: {reasons[source]}; asking {left[0]}")
        raise failure(download, path, self.root / download.folder, sources.gone | reasons)

    def obtain_patiently(self, source: str, path: str, digest: str | None, file: Path) -> None:
        """Bring one file from one source, again after a pause when it is busy or slow. Raises as `obtain`."""
        for pause_s in (*PAUSES_S, None):
            try:
                return self.obtain(source, path, digest, file)
            except HTTPError as error:
                if pause_s is None or not is_passing(error):
                    raise
                self.report(f"{source}: {path}: {in_short(error)}; trying again in {pause_s:g} s")
                time.sleep(pause_s)
        return None

    def obtain(self, source: str, path: str, digest: str | None, file: Path) -> None:
        """Bring one file from one source. Raises SourceError, or what the library raises."""
        on_hub = "://" not in source
        kind = "space" if source.startswith(SPACE) else None
        repository = source.removeprefix(SPACE)
        cached = try_to_load_from_cache(repository, path, repo_type=kind) if on_hub else None
        if isinstance(cached, str) and (digest is None or matches(Path(cached), digest)):
            self.report(f"{path}: taken from the Hub's cache, {cached}")
            adopt(Path(cached), file)
            return
        if self.is_offline:
            raise SourceError("not on this machine, and offline")
        url = f"{source}/{path}"
        if on_hub:
            url = hf_hub_url(repository, path, repo_type=kind, endpoint=self.endpoint)
        facts = get_hf_file_metadata(url, token=None if on_hub else False, endpoint=self.endpoint)
        theirs = content_digest(facts) if on_hub else None
        if digest and theirs and len(theirs) == len(digest) and theirs != digest:
            raise SourceError(f"offers another file (hash {theirs[:12]}..., expected {digest[:12]}...)")
        expected = digest or theirs
        if expected is None:
            raise SourceError("gives no hash, so its file could not be checked (a login page of the network?)")
        # named by its content, so that another mirror goes on where this one stopped
        part = file.with_name(f"{file.name}.{expected[:16]}.part")
        self.report(progress_message(path, part, facts.size, source))
        self.load(url, part, facts.size, build_hf_headers(token=None if on_hub else False))
        if not matches(part, expected):
            part.unlink()
            raise SourceError(f"sent a file with a wrong hash (expected {expected[:12]}...); it was removed")
        if digest is None:
            write_whole(note_of(file), expected)
        part.replace(file)

    def load(self, url: str, part: Path, size: int | None, headers: dict[str, str]) -> None:
        """Bring `url` into `part`, going on at its end. Raises what the library raises, DownloadError without room."""
        part.parent.mkdir(parents=True, exist_ok=True)
        done = part.stat().st_size if part.exists() else 0
        if size is None or done > size:
            part.unlink(missing_ok=True)
            done = 0
        free = shutil.disk_usage(part.parent).free
        if size is not None and size - done > free:
            raise DownloadError(f"{part}: needs {amount(size - done)}, but only {amount(free)} of disk space is free")
        name = part.name.rsplit(".", 2)[0]
        headers = {**headers, "Accept-Encoding": "identity"}  # ranges count the bytes of the file
        most = MOST_BYTES if size is None else size
        with open_no_link(part) as file:
            bounded = cast(BinaryIO, Bounded(file, most))
            try:
                http_get(url, bounded, resume_size=done, headers=headers, expected_size=size, displayed_filename=name)
            except SourceError:
                part.unlink()
                raise


def progress_message(path: str, part: Path, size: int | None, source: str) -> str:
    total = "" if size is None else f" {amount(size)}"
    if size is not None and part.exists():
        return f"{path}: resuming at {amount(part.stat().st_size)} of{total} from {source}"
    return f"{path}: downloading{total} from {source}"


def adopt(cached: Path, file: Path) -> None:
    """Store the same content under another name; linked where the disk allows, so that it takes no room twice."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.unlink()
        try:
            os.link(cached.resolve(), part)
        except OSError:
            shutil.copyfile(cached, part)
