"""Record finished results, so that running the same command again does not repeat the work."""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import platformdirs

from image_core.errors import OseDiffError
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.encoding import Encoding
from osediff_video.job.identity import Identity, is_unchanged, stamp_of
from osediff_video.job.manifest import Manifest
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan, plan_video
from osediff_video.suffixes import split_pattern
from osediff_video.target import check_target, check_video_name

MOST_RECORDS = 5000


@dataclass(frozen=True)
class Finished:
    """Describe a whole and verified result.

    frames: number of frames in it.
    source: identity of what it was made from.
    settings: fingerprint of the settings.
    """

    frames: int
    source: Identity
    settings: str

    def is_of(self, plan: VideoPlan, manifest: Manifest) -> bool:
        """Return whether `plan` would make this very result again. Raises MediaError for a missing source."""
        return self.settings == manifest.fingerprint and is_unchanged(plan.sources, self.source)


def record_file(target: Path) -> Path:
    """Return where the record of `target` lies: in the user's folder of program states."""
    folder = platformdirs.user_state_path("osediff", appauthor=False) / "finished"
    return folder / f"{hashlib.sha256(str(target.absolute()).encode(errors='surrogateescape')).hexdigest()}.json"


def record_finished(target: Path, result: Finished) -> None:
    """Record that `target` is finished; a machine without a writable state folder keeps no records."""
    file = record_file(target)
    with suppress(OSError, OseDiffError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(file, {"target": str(target.absolute()), "stamp": stamp_of([target]), **asdict(result)})
        records = sorted(file.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for old in records[:-MOST_RECORDS]:
            old.unlink(missing_ok=True)


def find_finished(target: Path) -> Finished | None:
    """Return the record of `target` if the file is still what was written there."""
    values = read_sealed(record_file(target)) if target.exists() and not target.is_symlink() else None
    if values is None:
        return None
    try:
        if values["stamp"] != stamp_of([target]):
            return None
        return Finished(values["frames"], Identity(**values["source"]), values["settings"])
    except (KeyError, TypeError, OseDiffError):
        return None


def plan_run(
    source: Path,
    target: Path,
    scale: float,
    encoding: Encoding,
    options: VideoOptions,
    *,
    restart: bool = False,
    overwrite: bool = False,
) -> tuple[VideoPlan, Finished | None]:
    """Open and plan everything before a model is loaded, so that what cannot work is refused at once.

    A target such as out/%06d.tif names the frames in the folder. Returns the plan, and what an earlier run finished in
    the place of the target. Raises MediaError or OutputError.
    """
    target, names = split_pattern(target)
    encoding = replace(encoding, frames=names or encoding.frames)
    finished = None if overwrite or restart else find_finished(target)
    replaceable = overwrite or finished is not None
    return plan_video(source, target, scale, encoding, options, overwrite=replaceable), finished


def check_target_or_finished(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse a target as `check_target` does, except one that may be the finished result of the same command."""
    folder, _ = split_pattern(target)
    check_video_name(folder)
    check_target(source, target, overwrite or find_finished(folder) is not None)
