"""Define what names of files say: images, videos, numbered frames. Imports only the standard library.

Numbered frames are named as FFmpeg names them, such as out/%06d.png.
"""

import re
from collections.abc import Iterable
from pathlib import Path

WRITABLE_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif")
"""Images that `osediff image` writes."""

IMAGES = (*WRITABLE_IMAGES, ".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2")
"""What counts as an image when a folder is searched; more kinds are read when a file is named."""

UNREADABLE_IMAGES = (".heic", ".heif", ".dpx", ".exr", ".hdr", ".psd", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".jxl")
"""Images that are not read: they are named, not passed over."""

CONTAINERS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts", ".gif": "gif",
}  # fmt: skip
"""Endings of videos that can be written -> FFmpeg's name of the format."""

VIDEOS = (
    *CONTAINERS, ".avi", ".flv", ".mpg", ".mpeg", ".m2ts", ".mts", ".vob", ".wmv", ".asf", ".3gp", ".ogv", ".y4m",
    ".nut", ".mxf", ".apng",
)  # fmt: skip
"""What counts as a video when a folder is searched; FFmpeg reads more when a file is named."""

FRAME_NAMES = "frame_%08d.png"
"""Names of the frames in a folder, unless the user gives others."""

FRAME_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
"""Endings of numbered frames that can be written."""

NUMBER = re.compile(r"%(?:0?(\d{1,2}))?d")


def ending(path: Path) -> str:
    """Return the suffix in lower case, or "" where it is a number: the folder clip_x1.5 has no ending."""
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()


def is_image(path: Path) -> bool:
    """Return whether the suffix of `path` is that of an image."""
    return path.suffix.lower() in IMAGES


def unreadable(paths: Iterable[Path]) -> str:
    """Return what to do about images of a kind that is not read here, where there are any."""
    kinds = {path.suffix.lower() for path in paths} & set(UNREADABLE_IMAGES)
    return f"; {' '.join(sorted(kinds))} are not read here, convert them to 16-bit PNG first" if kinds else ""


def is_video(path: Path) -> bool:
    """Return whether the suffix of `path` is that of a video."""
    return path.suffix.lower() in VIDEOS


def is_pattern(path: Path) -> bool:
    """Return whether a path stands for numbered frames: an image's name with one number such as %06d or %d."""
    single = len(NUMBER.findall(path.name)) == 1
    return single and path.suffix.lower() in IMAGES and not path.exists()


def split_pattern(target: Path) -> tuple[Path, str | None]:
    """Return the folder and the names of numbered frames; any other path and None."""
    return (target.parent, target.name) if is_pattern(target) else (target, None)


def frame_name(names: str, number: int) -> str:
    """Return the name of a frame, as C's printf writes it: %06d is at least six digits."""
    return NUMBER.sub(lambda match: f"{number:0{match[1] or 1}d}", names).replace("%%", "%")


def matcher(names: str) -> re.Pattern[str]:
    """Return what matches the names of numbered frames as a whole; its one group is the number."""
    before, width, after = NUMBER.split(names)
    return re.compile(rf"{literal(before)}(\d{{{int(width or 1)},}}){literal(after)}")


def literal(part: str) -> str:
    return re.escape(part.replace("%%", "%"))


def numbered(pattern: Path) -> list[Path]:
    """Return the files that `pattern` stands for, by their numbers; none where the folder is missing."""
    match = matcher(pattern.name)
    if not pattern.parent.is_dir():
        return []
    numbers = {path: int(hit[1]) for path in pattern.parent.iterdir() if (hit := match.fullmatch(path.name))}
    return sorted((path for path in numbers if path.is_file()), key=numbers.__getitem__)
