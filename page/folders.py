"""Decide which files the page may read, and where its results go."""

from dataclasses import dataclass
from pathlib import Path

from osediff_video import MediaError, OutputError


@dataclass(frozen=True)
class Folders:
    """Hold the folders that the page was started with.

    roots: folders whose files may be read, links resolved; a relative path begins in the first.
    output: folder that results are written to.
    uploads: folder of files that were dropped on the page.
    """

    roots: tuple[Path, ...]
    output: Path
    uploads: Path

    def readable(self, words: str) -> Path:
        """Return the file or folder that a user named, links resolved. Raises MediaError for one outside the roots."""
        words = words.strip()
        if not words or "\0" in words:
            raise MediaError("name a video, an image or a folder of frames, or drop one on the page")
        path = self.roots[0] / Path(words).expanduser()
        try:
            place = path.resolve()
        except (OSError, RuntimeError) as error:  # a circle of links, a name too long
            raise MediaError(f"{words[:200]}: not a path that can be read ({error})") from error
        if not any(place.is_relative_to(root) for root in (*self.roots, self.output, self.uploads)):
            shown = ", ".join(map(str, self.roots))
            raise MediaError(
                f"{words}: lies outside the folders of this page ({shown}); start it with that folder: osediff-video "
                "gui FOLDER"
            )
        try:
            if not place.exists():
                raise MediaError(f"{words}: no such file")
        except OSError as error:
            raise MediaError(f"{words[:200]}: cannot be read ({error})") from error
        return place

    def writable(self, name: str) -> Path:
        """Return where a result of this name goes. Raises OutputError for a name that leads out of the folder."""
        name = name.strip()
        place = self.output / name
        if not name or "\0" in name or place.parent != self.output or name in (".", ".."):
            raise OutputError(f"{name or 'the name of the result'}: expected the name of a file, without a folder")
        return place


def make_folders(roots: tuple[Path, ...], output: Path | None, uploads: Path) -> Folders:
    """Return the folders of a page. output: None is the first root. Raises OutputError for one that is not there."""
    for folder in (*roots, *((output,) if output else ())):
        if not folder.is_dir():
            raise OutputError(f"{folder}: no such folder; name folders that exist")
    uploads.mkdir(parents=True, exist_ok=True)
    resolved = tuple(root.resolve() for root in roots)
    return Folders(resolved, (output or roots[0]).resolve(), uploads.resolve())
