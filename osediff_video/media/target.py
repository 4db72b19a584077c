"""What may be written where: refused before any work."""

import os
from pathlib import Path

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import CONTAINERS
from osediff_video.media.stdin import PIPE


def check_target(source: Path, target: Path, overwrite: bool) -> None:
    """Raise MediaError for a missing source, OutputError for a target that cannot or must not be written."""
    if target == PIPE:
        return
    if source != PIPE and not source.exists():
        raise MediaError(f"{source}: no such file")
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the source itself, which is never touched; choose another output")
    if not target.suffix and not source.is_dir():
        raise OutputError(f"{target}: what kind of file? Give it one of the endings {' '.join(CONTAINERS)}")
    if target.suffix and target.suffix.lower() not in CONTAINERS:
        raise OutputError(f"{target}: cannot write {target.suffix}; expected one of {' '.join(CONTAINERS)}")
    if target.is_dir() != (not target.suffix) and target.exists():
        raise OutputError(f"{target}: is a {'folder' if target.is_dir() else 'file'} already; choose another output")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; --overwrite replaces it")
    folder = target.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{folder}: no such folder; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{folder}: not writable; choose another output")
