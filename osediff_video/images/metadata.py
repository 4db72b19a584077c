"""Carry what an image file says besides its pixels: resolution, EXIF, XMP, texts, and colours of PNG."""

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from osediff_video.images.png import Chunk
from osediff_video.images.tiff import STRUCTURE

ORIENTATION = 0x0112  # EXIF tag; the pixels are turned upright instead
RESOLUTION_TAGS, UNIT, INCH = (282, 283), 296, 2
EXIF_FOLDER, EXIF_WIDTH, EXIF_HEIGHT = 0x8769, 0xA002, 0xA003
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
COLOR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
XMP_KEYWORD = b"XML:com.adobe.xmp"
COMMENT = b"Comment"
INCHES_PER_METRE = 0.0254
ORDINARY_COLORS = {b"gAMA": (45455, 45454), b"cICP": (0x010D0001,)}
"""Values that mean sRGB, which need not be named when they go."""


@dataclass(frozen=True)
class Metadata:
    """Hold what a file says besides its pixels, profile and EXIF.

    dpi: dots per inch, across and down.
    xmp: the XMP packet.
    comment: of a JPEG or GIF.
    texts: text chunks of a PNG, but for XMP.
    colors: chunks of a PNG on what its numbers mean.
    others: names of what no target keeps.
    """

    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    comment: bytes | None = None
    texts: tuple[Chunk, ...] = ()
    colors: tuple[Chunk, ...] = ()
    others: tuple[str, ...] = ()

    def scaled(self, across: float, down: float) -> "Metadata":
        """Return the same with a resolution that leaves the size on paper as it is."""
        return replace(self, dpi=None if self.dpi is None else (self.dpi[0] * across, self.dpi[1] * down))

    def keywords(self) -> list[str]:
        """Return what the texts are called."""
        return [body.split(b"\0", 1)[0].decode("latin-1", "replace")[:40] for _, body in self.texts]

    def color_names(self) -> list[str]:
        """Return the names of the colour chunks without which a viewer shows other colours."""
        return [
            name.decode()
            for name, body in self.colors
            if name in ORDINARY_COLORS and int.from_bytes(body, "big") not in ORDINARY_COLORS[name]
        ]

    def png_chunks(self) -> list[Chunk]:
        """Return all of it as chunks of a PNG."""
        result = [*self.colors]
        if self.dpi is not None:
            across, down = (min(2**31 - 1, max(1, round(value / INCHES_PER_METRE))) for value in self.dpi)
            result.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
        if self.xmp:
            result.append((b"iTXt", XMP_KEYWORD + bytes(5) + self.xmp))
        result += self.texts
        if self.comment:
            result.append((b"tEXt", COMMENT + b"\0" + self.comment.replace(b"\0", b" ")))
        return result


def read_metadata(opened: Image.Image, png: list[Chunk]) -> Metadata:
    """Return what an opened file says. png: its chunks, if it is one."""
    info = opened.info
    xmp = info.get("xmp")
    xmp = upright_xmp(xmp) if isinstance(xmp, bytes) and xmp else None
    comment = info.get("comment")
    comment = comment.encode("latin-1", "replace") if isinstance(comment, str) else comment
    texts = [chunk for chunk in png if chunk[0] in TEXTS and not chunk[1].startswith(XMP_KEYWORD)]
    colors = [chunk for chunk in png if chunk[0] in COLOR_CHUNKS]
    others = ["IPTC data"] if "photoshop" in info or 33723 in getattr(opened, "tag_v2", {}) else []
    return Metadata(
        read_dpi(opened), xmp, comment if isinstance(comment, bytes) and comment else None, tuple(texts), tuple(colors),
        tuple(others),
    )  # fmt: skip


def read_dpi(opened: Image.Image) -> tuple[float, float] | None:
    """Return the resolution, where the file has one that is more than an aspect or a default nobody set."""
    dpi = opened.info.get("dpi")
    tags = getattr(opened, "tag_v2", None)
    if tags is not None and (282 not in tags or tags.get(UNIT, INCH) == 1):
        return None
    if opened.format in ("JPEG", "MPO") and opened.info.get("jfif_unit", 0) == 0 and "exif" not in opened.info:
        return None
    try:
        across, down = (float(value) for value in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    sane = all(math.isfinite(value) and 2 <= value < 1e6 for value in (across, down))
    return (across, down) if sane else None


def upright_xmp(xmp: bytes) -> bytes:
    """Return the packet without an orientation: the pixels are turned upright."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", xmp)


def upright_exif(exif: Image.Exif, keep_structure: bool) -> bytes | None:
    """Return an EXIF block without its orientation. Raises whatever Pillow does for a malformed one.

    keep_structure: False leaves out the tags by which a TIFF stores its pixels.
    """
    exif.pop(ORIENTATION, None)
    if not keep_structure:
        for tag in STRUCTURE & set(exif):
            del exif[tag]
    return exif.tobytes() if len(exif) else None


def resized_exif(exif: bytes, width: int, height: int, dpi: tuple[float, float] | None) -> bytes | None:
    """Return an EXIF block that states this size and resolution where it states any; None if it is malformed."""
    tags: Any = Image.Exif()
    try:
        tags.load(exif)
        if dpi is not None and RESOLUTION_TAGS[0] in tags:
            tags[RESOLUTION_TAGS[0]], tags[RESOLUTION_TAGS[1]], tags[UNIT] = *dpi, INCH
        inner = tags.get_ifd(EXIF_FOLDER)
        if EXIF_WIDTH in inner or EXIF_HEIGHT in inner:
            inner[EXIF_WIDTH], inner[EXIF_HEIGHT] = width, height
        return bytes(tags.tobytes())
    except Exception:  # Pillow's reader of foreign EXIF raises what it happens to meet
        return None


def exif_with_dpi(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Return an EXIF block that states the resolution, for formats with no other place for it."""
    tags: Any = Image.Exif()
    if exif:
        tags.load(exif)
    tags[RESOLUTION_TAGS[0]], tags[RESOLUTION_TAGS[1]], tags[UNIT] = *dpi, INCH
    return bytes(tags.tobytes())
