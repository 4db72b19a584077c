"""Watch a folder for files that arrive, and hand each on when it is complete."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from image_core.errors import MediaError, OutputError
from osediff_video.suffixes import is_image, is_video

POLL_S = 1.0
JOB_ENDING = ".osediff"
"""Of folders of unfinished work."""

Stamp = tuple[int, int]


def check_watched(folder: Path, output: Path) -> None:
    """Refuse folders that cannot be watched or written to. Raises MediaError or OutputError."""
    if not folder.is_dir():
        raise MediaError(f"{folder}: no such folder to watch")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: exists and is not a folder; choose another folder for results")
    if output.resolve() == folder.resolve():
        raise OutputError(f"{output}: is the watched folder, where results would be upscaled again; choose another")
    if not output.is_dir() and not output.absolute().parent.is_dir():
        raise OutputError(f"{output.absolute().parent}: no such folder; create it first")


def complete_files(
    folder: Path,
    settle_s: float,
    *,
    output: Path | None = None,
    once: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Path]:
    """Yield the videos and images below a folder, each when it is complete, and again when it was replaced.

    settle_s: seconds for which size and time of change must stay as they are.
    output: folder of results, which are not upscaled again.
    once: end when all that is there was handed on.
    sleep: what waits between two looks.
    """
    handed: dict[Path, Stamp] = {}
    settling: dict[Path, tuple[Stamp, float]] = {}
    while True:
        for path in arrived(folder, output):
            stamp, now = stamp_of(path), time.monotonic()
            if stamp is None or handed.get(path) == stamp:
                settling.pop(path, None)
                continue
            since = settling.get(path)
            if since is None or since[0] != stamp:
                settling[path] = (stamp, now)
            elif now - since[1] >= settle_s and not is_written_to(path):
                handed[path] = stamp
                del settling[path]
                yield path
        if once and not settling:
            return
        sleep(min(POLL_S, settle_s))


def arrived(folder: Path, output: Path | None = None) -> list[Path]:
    """Return the videos and images below a folder; names that begin with a dot are of files on their way.

    output: a folder that is left out, as are those of unfinished work.
    """
    results = None if output is None else output.resolve()
    found = list[Path]()
    for place, inner, names in os.walk(folder):  # which passes over what cannot be read: a share away for a while
        here = Path(place)
        inner[:] = [
            name
            for name in inner
            if not name.startswith(".") and not name.endswith(JOB_ENDING) and (here / name).resolve() != results
        ]
        found += [here / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if is_video(path) or is_image(path))


def place_in(output: Path, source: Path, folder: Path, name: str) -> Path:
    """Return where the result of `source` goes: under `output` as the source lies under `folder`. Makes the folder.

    Raises OutputError.
    """
    place = output / source.relative_to(folder).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place}: cannot be made ({error}); choose another folder for results") from error
    return place / name


def stamp_of(path: Path) -> Stamp | None:
    """Return size and time of change of a file; None for an empty one, and for what is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if path.is_file() and status.st_size else None


def is_written_to(path: Path) -> bool:
    """Return whether a program has the file open for writing, where the system tells: Linux, on its own disks."""
    try:
        import fcntl
        import signal

        with path.open("rb") as file:
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # the usual signal of a broken lease ends a program
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:  # no lease on what others write to
        return True
    except (ImportError, AttributeError, OSError):
        return False
    return False
