"""Decide who owns the target: what may be written where, and how a result takes its place.

Every way to a result goes through here: `check_target` before work, `put_in_place` at the end. Never touched: a source,
what holds a source, a link, a file that is not ours in a folder, and, unless the user asked to overwrite, anything that
is there already, also when it appeared while the work was done.
"""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from image_core.errors import ImageError, MediaError, OutputError
from osediff_video.media.reading.stdin import PIPE
from osediff_video.suffixes import (
    CONTAINERS,
    FRAME_NAMES,
    WRITABLE_IMAGES,
    ending,
    is_pattern,
    matcher,
    split_pattern,
    unreadable,
)

LONGEST_NAME_BYTES = 255
"""What nearly every file system takes."""
JOB_NAME_BYTES = 24
"""Room for what is added to the name of a video while it is made."""


def check_target(sources: Path | Sequence[Path], target: Path, overwrite: bool, names: str | None = None) -> None:
    """Refuse a target of a video that cannot or must not be written.

    sources: everything the result is made from.
    target: a video, a folder, or a pattern such as out/%06d.png.
    names: names of frames in a folder, if that is not said by `target`; None is frame_%08d.png.

    Raises MediaError for a missing source, OutputError for the target.
    """
    target, selected = split_pattern(target)
    names = selected or names
    if target == PIPE:
        return
    check_video_name(target)
    sources = [sources] if isinstance(sources, Path) else list(sources)
    for source in sources:
        if source != PIPE and not (source.exists() or is_pattern(source)):
            raise MediaError(f"{source}: no such file{unreadable([source])}")
    keep_sources(sources, target)
    if names is None and not ending(target) and not any(source.is_dir() or is_pattern(source) for source in sources):
        raise OutputError(f"{target}: has no file extension; expected one of {' '.join(CONTAINERS)}")
    if names is not None and ending(target):
        raise OutputError(f"{target}: a folder of frames has no ending such as {target.suffix}; choose another name")
    if ending(target) and ending(target) not in CONTAINERS:
        raise OutputError(f"{target}: cannot write {target.suffix}; expected one of {' '.join(CONTAINERS)}")
    if target.is_dir() != (not ending(target)) and target.exists():
        raise OutputError(f"{target}: is already a {'folder' if target.is_dir() else 'file'}; choose another output")
    check_replaceable(target, overwrite, names)
    check_parent(target)


def check_name(target: Path, longest: int = LONGEST_NAME_BYTES) -> None:
    """Refuse a name that the file system does not take. Raises OutputError."""
    if (size := len(os.fsencode(target.name))) > longest:
        raise OutputError(f"{target.name[:40]}...: the name has {size} bytes; expected at most {longest}; use --output")


def check_video_name(target: Path) -> None:
    """Refuse a name that leaves no room for that of the unfinished work. Raises OutputError."""
    check_name(target, LONGEST_NAME_BYTES - JOB_NAME_BYTES)


def check_image_target(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse a target of one image that cannot or must not be written.

    Raises ImageError for a missing source, OutputError for the target.
    """
    check_name(target)
    if len(os.fsencode(source.name)) > LONGEST_NAME_BYTES or not source.exists():
        raise ImageError(f"{source}: no such file")
    if target.is_dir():
        raise OutputError(f"{target}: is already a folder; choose another output")
    if target.suffix.lower() not in WRITABLE_IMAGES:
        what = f"cannot write {target.suffix}" if target.suffix else "has no file extension"
        raise OutputError(f"{target}: {what}; expected one of {' '.join(WRITABLE_IMAGES)}")
    keep_sources([source], target)
    check_replaceable(target, overwrite)


def keep_sources(sources: Sequence[Path], target: Path) -> None:
    """Refuse a target that is a source, holds one, or lies in a folder that is one. Raises OutputError."""
    place = target.resolve()
    for source in (source for source in sources if source != PIPE):
        origin = split_pattern(source)[0].resolve()
        if place == origin or (target.exists() and source.exists() and target.samefile(source)):
            raise OutputError(f"{target}: is the source itself, which is never touched; choose another output")
        if place in origin.parents:
            raise OutputError(f"{target}: holds the source {source}, which is never touched; choose another output")
        if origin.is_dir() and origin in place.parents:
            raise OutputError(f"{target}: lies in the source {source}, which is never touched; choose another output")


def check_replaceable(target: Path, overwrite: bool, names: str | None = None) -> None:
    """Refuse to replace what stands at `target` if it must not be replaced. Raises OutputError.

    names: those of frames in a folder; where the user gave them, the folder may be there already, if it is empty.
    """
    if target.is_symlink():
        raise OutputError(f"{target}: is a link, which is never written through; name the file itself")
    if not target.exists() or (names not in (None, FRAME_NAMES) and target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise OutputError(f"{target}: already exists; add --overwrite to replace it")
    if target.is_dir() and (foreign := next((p for p in sorted(target.iterdir()) if not is_ours(p, names)), None)):
        raise OutputError(
            f"{target}: holds {foreign.name}, which this program did not write; --overwrite replaces only folders of "
            f"{names or 'frame_NNNNNNNN.png'}; choose another output"
        )


def is_ours(path: Path, names: str | None) -> bool:
    """Return whether a file in a folder of frames has a name that this program writes, and is a plain file."""
    return bool(matcher(names or FRAME_NAMES).fullmatch(path.name)) and path.is_file() and not path.is_symlink()


def check_parent(target: Path) -> None:
    """Refuse a target whose folder is missing or cannot be written. Raises OutputError."""
    folder = target.absolute().parent
    if not folder.is_dir():
        what = "exists and is not a folder" if folder.exists() else "no such folder; create it first"
        raise OutputError(f"{folder}: {what}")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: not writable; choose another output")


def put_in_place(part: Path, target: Path, overwrite: bool, names: str | None = None) -> None:
    """Rename the finished `part`, a file or a folder of frames on the same disk, to `target`, without a gap.

    Without `overwrite` nothing that appeared at `target` meanwhile is replaced. names: those of frames in a folder.
    Raises OutputError; `part` then stays.
    """
    check_replaceable(target, overwrite, names)
    try:
        if part.is_dir():
            _place_folder(part, target, names)
        elif overwrite:
            part.replace(target)
        else:
            _place_new_file(part, target)
    except FileExistsError as error:
        raise OutputError(
            f"{target}: appeared in the meantime and is not replaced; choose another output, or --overwrite"
        ) from error
    except OSError as error:
        raise OutputError(f"{target}: cannot be put in place ({error})") from error


def _place_new_file(part: Path, target: Path) -> None:
    """Give `part` the name `target` unless that exists. Raises FileExistsError, OSError."""
    try:
        os.link(part, target)  # unlike a rename it fails where something stands
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: claim the name first
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        part.replace(target)
    else:
        part.unlink()


def _place_folder(part: Path, target: Path, names: str | None) -> None:
    """Give the folder `part` the name `target`; a folder of our frames there is moved aside first and then removed.

    Raises FileExistsError, OSError.
    """
    aside: Path | None = None
    if target.exists():  # checked to hold nothing but our frames
        aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
        target.rename(aside)
    try:
        target.mkdir()  # claims the name; a rename replaces only this, while it is empty
        try:
            if os.name == "nt":
                target.rmdir()
            part.rename(target)
        except OSError as error:
            with suppress(OSError):
                target.rmdir()
            if target.exists():
                raise FileExistsError(str(target)) from error
            raise
    except OSError:
        if aside is not None and not target.exists():
            aside.rename(target)
        raise
    if aside is not None:
        for path in aside.iterdir():
            if is_ours(path, names):
                path.unlink()
        with suppress(OSError):  # what somebody put there meanwhile stays
            aside.rmdir()


def default_target(source: Path, scale: str) -> Path:
    """Return where the result goes if no target is given: beside the source, named by `scale` ("x4", "1080p").

    A container that can be written is kept; any other becomes .mkv, which holds everything.
    """
    resolved = split_pattern(source)[0].resolve()
    return resolved.parent / result_name(source, scale)


def result_name(source: Path, scale: str) -> str:
    """Return the file name of the result of a video or folder of frames."""
    if source.is_dir() or is_pattern(source):
        return f"{split_pattern(source)[0].resolve().name}_{scale}"
    suffix = source.suffix.lower() if source.suffix.lower() in CONTAINERS else ".mkv"
    return f"{source.stem}_{scale}{suffix}"


def default_image_target(source: Path, label: str) -> Path:
    """Return where the result of one image goes unasked: a PNG beside it, named by `label` ("x4", "1080p")."""
    return source.parent / f"{source.stem}_{label}.png"
