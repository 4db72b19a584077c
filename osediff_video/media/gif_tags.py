"""Read and write what a GIF says besides its images: how often it plays, and its comment."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

ENDLESS, ONCE = 0, -1
"""Numbers of repetitions in the terms of FFmpeg."""

BLOCK_BYTES = 255
COMMENT, TRAILER = b"\x21\xfe", b"\x3b"


@dataclass(frozen=True)
class GifTags:
    """Hold how often a GIF plays after its first time, -1 for not at all and 0 for ever, and its comment."""

    loop: int = ENDLESS
    comment: bytes = b""


def gif_tags(path: Path) -> GifTags:
    """Return those of an animated image; a video, or a folder of frames, plays for ever without a comment."""
    try:
        if not path.is_file():
            return GifTags()
        with Image.open(path) as image:
            kind, loop, comment = image.format, image.info.get("loop"), image.info.get("comment", b"")
            if kind == "GIF":
                return GifTags(ONCE if loop is None else int(loop), comment if isinstance(comment, bytes) else b"")
            if kind in ("PNG", "WEBP"):  # these count the first time too
                return GifTags({0: ENDLESS, 1: ONCE}.get(int(loop or 0), int(loop or 0) - 1))
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        pass
    return GifTags()


def write_comment(path: Path, comment: bytes) -> None:
    """Add a comment at the end of a GIF (GIF89a, section 24). Raises OSError."""
    if not comment:
        return
    blocks = [comment[at : at + BLOCK_BYTES] for at in range(0, len(comment), BLOCK_BYTES)]
    extension = COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"
    with path.open("r+b") as file:
        file.seek(-1, 2)
        if file.read(1) == TRAILER:
            file.seek(-1, 2)
            file.write(extension + TRAILER)
