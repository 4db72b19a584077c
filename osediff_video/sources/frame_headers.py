"""Look at every frame of a folder before work: size, depth, transparency, and whether the file is whole."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from osediff_video.images import png, profiles
from osediff_video.images.decode import ORIENTATIONS, first_line
from osediff_video.images.metadata import ORIENTATION
from osediff_video.types import UPRIGHT

TAIL_BYTES = 1 << 16
BITS = 258


@dataclass(frozen=True)
class FrameHeader:
    """Describe one frame file by its header, upright.

    size: width and height. deep: more than 8 bits per sample. alpha: has transparency. in_srgb: no profile, or sRGB.
    problem: why the file cannot be read, or None; the rest then says nothing.
    """

    path: Path
    size: tuple[int, int] = (0, 0)
    deep: bool = False
    alpha: bool = False
    in_srgb: bool = True
    problem: str | None = None


def read_header(path: Path) -> FrameHeader:
    """Read one header, which takes a fraction of a millisecond; pixels are not decoded."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not os.fstat(file.fileno()).st_size:
                return FrameHeader(path, problem="the file is empty")
            head = file.read(256)
            file.seek(0)
            with Image.open(file) as opened:
                return described(path, opened, head, file)
    except Image.UnidentifiedImageError:
        return FrameHeader(path, problem="not an image of a kind or layout that is known here")
    except Exception as error:  # decoders of malformed files raise what they happen to meet
        return FrameHeader(path, problem=first_line(error))


def described(path: Path, opened: Image.Image, head: bytes, file: BinaryIO) -> FrameHeader:
    """Return what the opened file says. Raises ValueError for one that is cut off."""
    orientation: Any
    icc = opened.info.get("icc_profile")
    in_srgb = not icc or opened.mode == "CMYK" or profiles.space_of(icc) != "RGB" or profiles.is_srgb(icc)
    alpha, deep, (width, height) = opened.has_transparency_data, is_deep(opened, head), opened.size
    if opened.format == "PNG":
        exif: Any = Image.Exif()
        if block := exif_to_the_end(file):
            exif.load(block)
        orientation = exif.get(ORIENTATION, 1)
    else:
        orientation = opened.getexif().get(ORIENTATION, 1)
    if opened.format == "JPEG":
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        if b"\xff\xd9" not in file.read():
            raise ValueError("the JPEG is cut off")
    if ORIENTATIONS.get(orientation, UPRIGHT).transpose:
        width, height = height, width
    return FrameHeader(path, (width, height), deep, alpha, in_srgb)


def is_deep(opened: Image.Image, head: bytes) -> bool:
    """Return whether `read_image` will give 16 bits."""
    if opened.format == "PNG":
        return head[24] == 16
    if opened.format == "PPM" and (maximum := re.match(rb"P[2356](?:(?:\s|#[^\n]*\n)+(\d+)){3}", head)):
        return int(maximum[1]) > 255
    bits = getattr(opened, "tag_v2", {}).get(BITS, (1,))
    return max(bits) > 8 or opened.mode == "F" or opened.mode.startswith("I")


def exif_to_the_end(file: BinaryIO) -> bytes | None:
    """Return the EXIF block of a PNG, having gone from chunk to chunk. Raises ValueError where the end is missing."""
    size, position, exif = os.fstat(file.fileno()).st_size, len(png.SIGNATURE), None
    while True:
        file.seek(position)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        position += 12 + length
        if len(head) < 8 or position > size:
            raise ValueError("the PNG is cut off")
        if name == b"IEND":
            return exif
        if name == b"eXIf":
            exif = file.read(length)


def main_size(headers: Sequence[FrameHeader]) -> tuple[int, int]:
    """Return the size that most frames have; of equally many the largest."""
    counts = Counter(header.size for header in headers)
    return max(counts, key=lambda size: (counts[size], size[0] * size[1], size))


def named(headers: Sequence[FrameHeader]) -> str:
    """Return the names of up to three frames, each with its problem or size."""
    shown = [f"{h.path.name} ({h.problem or f'{h.size[0]} x {h.size[1]}'})" for h in headers[:3]]
    return ", ".join(shown) + (", ..." if len(headers) > 3 else "")
