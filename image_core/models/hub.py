"""Files from the Hugging Face Hub and plain addresses: mirrors in order, resumed, checked, whole or not at all.

huggingface_hub does the talking, but its own downloads begin anew after an interruption; ours go on, even at another
mirror.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.file_download import HfFileMetadata, http_get
from huggingface_hub.utils import build_hf_headers

from image_core.errors import DownloadError
from image_core.files import replacing

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Download:
    """Files that belong together.

    folder: where they are kept, below that of all downloads. sources: tried in this order, each "owner/name" on the
    Hub or the address of a folder. files: path -> sha256, None where only the Hub's own word is known. by_hand: what
    to do when no source answers.
    """

    folder: str
    sources: tuple[str, ...]
    files: Mapping[str, str | None]
    by_hand: str


class SourceError(Exception):
    """One source cannot give a file; the next may."""


@dataclass(frozen=True)
class Fetcher:
    """Brings downloads to this machine.

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
        folder.mkdir(parents=True, exist_ok=True)
        failures: dict[str, str] = {}
        try:
            with FileLock(str(self.root / f".{download.folder}.lock"), timeout=0):
                for path, digest in download.files.items():
                    file = folder / path
                    if file.is_file() and digest and not matches(file, digest):
                        file.unlink()
                        self.report(f"{file}: had a wrong hash (expected {digest[:12]}...); it was removed")
                    if not file.is_file():
                        self.from_any(download, path, file, failures)
        except Timeout as error:
            raise DownloadError(f"{folder}: another process is loading these files; wait for it to end") from error
        return folder

    def from_any(self, download: Download, path: str, file: Path, failures: dict[str, str]) -> None:
        """One file, from the first source that has not failed yet and gives it. Raises DownloadError."""
        for source in download.sources:
            if source in failures:
                continue
            try:
                self.obtain(source, path, download.files[path], file)
            except (SourceError, HTTPError, OSError) as error:
                if isinstance(error, OSError) and error.errno:  # of this machine, not of the source
                    reason = "no room is left" if error.errno == errno.ENOSPC else str(error)
                    raise DownloadError(f"{file}: cannot be written: {reason}") from error
                failures[source] = f"{path}: {in_short(error)}"
                if not self.is_offline and (left := [s for s in download.sources if s not in failures]):
                    self.report(f"{source}: {failures[source]}; asking {left[0]}")
            else:
                return
        folder = self.root / download.folder
        tried = "\n".join(f"  {source}: {reason}" for source, reason in failures.items())
        missing = ", ".join(name for name in download.files if not (folder / name).is_file())
        raise DownloadError(
            f"{path} of {download.folder} could not be had from any source:\n{tried}\n"
            f"Missing: {missing}\nBy hand: {download.by_hand.format(folder=folder)}"
        )

    def obtain(self, source: str, path: str, digest: str | None, file: Path) -> None:
        """One file from one source. Raises SourceError, or what the library raises."""
        on_hub = "://" not in source
        cached = try_to_load_from_cache(source, path) if on_hub else None
        if isinstance(cached, str) and (digest is None or matches(Path(cached), digest)):
            self.report(f"{path}: taken from the Hub's cache, {cached}")
            adopt(Path(cached), file)
            return
        if self.is_offline:
            raise SourceError("not on this machine, and offline")
        url = hf_hub_url(source, path, endpoint=self.endpoint) if on_hub else f"{source}/{path}"
        facts = get_hf_file_metadata(url, token=None if on_hub else False, endpoint=self.endpoint)
        theirs = content_digest(facts) if on_hub else None
        if digest and theirs and len(theirs) == len(digest) and theirs != digest:
            raise SourceError(f"offers another file (sha256 {theirs[:12]}..., expected {digest[:12]}...)")
        expected = digest or theirs
        # named by its content, so that another mirror goes on where this one stopped
        name = expected or hashlib.sha256((facts.etag or url).encode()).hexdigest()
        part = file.with_name(f"{file.name}.{name[:16]}.part")
        self.report(progress_words(path, part, facts.size, source))
        self.load(url, part, facts.size, build_hf_headers(token=None if on_hub else False))
        if expected and not matches(part, expected):
            part.unlink()
            raise SourceError(f"sent a file with a wrong hash (expected {expected[:12]}...); it was removed")
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
            raise DownloadError(f"{part}: {amount(size - done)} to come, but only {amount(free)} of disk free")
        name = part.name.rsplit(".", 2)[0]
        headers = {**headers, "Accept-Encoding": "identity"}  # ranges count the bytes of the file
        with part.open("ab") as file:
            http_get(url, file, resume_size=done, headers=headers, expected_size=size, displayed_filename=name)


def progress_words(path: str, part: Path, size: int | None, source: str) -> str:
    total = "" if size is None else f" {amount(size)}"
    if size is not None and part.exists():
        return f"{path}: going on at {amount(part.stat().st_size)} of{total} from {source}"
    return f"{path}: loading{total} from {source}"


def adopt(cached: Path, file: Path) -> None:
    """The same content under another name; linked where the disk allows, so that it takes no room twice."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.unlink()
        try:
            os.link(cached.resolve(), part)
        except OSError:
            shutil.copyfile(cached, part)


def content_digest(facts: HfFileMetadata) -> str | None:
    """What the Hub says of a file's content: sha256 of large ones, git's sha1 of small ones."""
    etag = facts.etag or ""
    return etag if len(etag) in (40, 64) and all(sign in "0123456789abcdef" for sign in etag) else None


def matches(path: Path, digest: str) -> bool:
    """Whether a file has this sha256 (64 signs) or this git blob id (40 signs)."""
    with path.open("rb") as file:
        if len(digest) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
        found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
        while block := file.read(1 << 20):
            found.update(block)
        return found.hexdigest() == digest


def in_short(error: Exception) -> str:
    """In a few words: the libraries' messages run over several lines."""
    if isinstance(error, HfHubHTTPError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def amount(size: int) -> str:
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
