"""Define which file suffixes are images and videos. Imports only the standard library, so that `--help` is instant."""

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


def is_image(path: Path) -> bool:
    """Return whether the suffix of `path` is that of an image."""
    return path.suffix.lower() in IMAGES


def is_video(path: Path) -> bool:
    """Return whether the suffix of `path` is that of a video."""
    return path.suffix.lower() in VIDEOS
