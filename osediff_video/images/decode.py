"""Decode the bytes of an image file into colour, alpha and what the file says of itself; or refuse it."""

import io
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from PIL import Image

from osediff_video.images import deep, png, profiles
from osediff_video.images.metadata import ORIENTATION, Metadata, read_metadata, upright_exif
from osediff_video.types import UPRIGHT, ImageArray, Orientation, Plane

ORIENTATIONS = {
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}
"""What the values of the EXIF tag ask for."""
CINEMA = {b"v/1\x01": "EXR", b"SDPX": "DPX", b"XPDS": "DPX"}
"""First bytes of formats that neither Pillow nor the wheels of OpenCV read."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I", "F")
ANIMATIONS = ("GIF", "PNG", "WEBP", "AVIF")


@dataclass
class Decoded:
    """Hold a decoded image, upright.

    color: (H, W, 3) RGB, or (H, W) for grey. notes: sentences on what differs from the file.
    """

    color: ImageArray
    alpha: Plane | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: list[str] = field(default_factory=list)


def decode(data: bytes) -> Decoded:
    """Decode a file by its content, whatever its name.

    Raises ValueError with a reason, or whatever else Pillow's decoders happen to meet in a malformed file.
    """
    if not data:
        raise ValueError("the file is empty")
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS and b"avif" not in data[8:40]:
        raise ValueError(
            "HEIC cannot be read; convert it to PNG first, for example with `heif-convert IN.heic OUT.png` or in the "
            "photo application (phones: Settings, Camera, Formats, Most Compatible)"
        )
    if kind := CINEMA.get(data[:4]):
        light = "-apply_trc iec61966_2_1 " if kind == "EXR" else ""
        raise ValueError(
            f"{kind} cannot be read by the libraries here; convert it to PNG of 16 bits first: "
            f"ffmpeg {light}-i IN.{kind.lower()} -pix_fmt rgb48be OUT.png"
        )
    chunks = list(png.chunks(data)) if data.startswith(png.SIGNATURE) else []
    try:
        opened = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError as error:
        raise ValueError("not an image of a kind or layout that is known here") from error
    with opened:
        notes = first_of_many(opened)
        result = decode_pixels(opened, data, dict(chunks).get(b"tRNS"), notes)
        result.metadata = read_metadata(opened, chunks)
        if result.icc is None and opened.info.get("icc_profile"):  # the colours were converted
            result.metadata = Metadata(**vars(result.metadata) | {"colors": ()})
        turn = read_exif(opened, result)
    result.color = turn(result.color)
    result.alpha = None if result.alpha is None else turn(result.alpha)
    return result


def first_of_many(opened: Image.Image) -> list[str]:
    """Say that a file holds more images than the first, which alone is read."""
    count = int(getattr(opened, "n_frames", 1))
    opened.seek(0)
    if count < 2:
        return []
    if opened.format in ANIMATIONS:
        return [f"only the first of {count} images of the animation; `osediff-video upscale` makes them all"]
    return [f"only the first of {count} pages or images in the file"]


def read_exif(opened: Image.Image, result: Decoded) -> Orientation:
    """Put the EXIF block into `result`, and return how the image is turned upright."""
    try:
        exif = opened.getexif()
        turn = exif.get(ORIENTATION, 1)
        result.exif = upright_exif(exif, keep_structure=opened.format not in ("TIFF", "MPO") or "exif" in opened.info)
    except Exception:  # Pillow's reader of foreign EXIF raises what it happens to meet
        result.notes.append("its EXIF block is malformed and left out")
        turn = 1
    return ORIENTATIONS.get(turn, UPRIGHT) if isinstance(turn, int) else UPRIGHT


def decode_pixels(opened: Image.Image, data: bytes, clear: bytes | None, notes: list[str]) -> Decoded:
    """Return colour and alpha as deep as they are stored, and the profile that belongs to them.

    clear: the tRNS chunk of a PNG.
    """
    opened.load()
    icc = opened.info.get("icc_profile") or None
    if opened.format == "PPM" and (pixels := deep.read_pnm(data)) is not None:
        return Decoded(pixels, notes=notes)
    is_deep_png = opened.format == "PNG" and data[24] == 16
    if is_deep_png or opened.format == "TIFF":
        pair = deep.read_deep_png(data, opened, clear) if is_deep_png else deep.read_deep_tiff(data, opened)
        if pair is not None:
            return with_profile(Decoded(pair[0], pair[1], notes=notes), icc)
    if opened.mode == "F" or opened.mode.startswith("I"):
        if opened.mode.startswith("I;16"):
            return with_profile(Decoded(np.asarray(opened).astype(np.uint16), notes=notes), icc)
        levels, note = deep.scaled_floats(opened)
        return with_profile(Decoded(levels, notes=[*notes, note]), icc)
    notes += reduced_depth(opened, data)
    if opened.mode in ("CMYK", "LAB"):
        return Decoded(through_profile(opened, icc, notes), notes=notes)
    has_alpha = opened.has_transparency_data
    if opened.mode in GREY_MODES:
        pixels = np.asarray(opened.convert("LA" if has_alpha else "L"))
        pair = (pixels[..., 0], pixels[..., 1]) if has_alpha else (pixels, None)
        return with_profile(Decoded(pair[0], pair[1], notes=notes), icc)
    pixels = np.asarray(opened.convert("RGBA" if has_alpha else "RGB"))
    return with_profile(Decoded(pixels[..., :3], pixels[..., 3] if has_alpha else None, notes=notes), icc)


def with_profile(result: Decoded, icc: bytes | None) -> Decoded:
    """Keep a profile that describes these pixels; leave any other out and say so."""
    if icc is None:
        return result
    space, expected = profiles.space_of(icc), "GRAY" if result.color.ndim == 2 else "RGB"
    if space == expected:
        result.icc = icc
    elif space is None:
        result.notes.append("its colour profile is malformed and left out")
    elif not (space == "RGB" and profiles.is_srgb(icc)):
        result.notes.append(f"its colour profile is for {space}, the image is {expected}: left out")
    return result


def through_profile(opened: Image.Image, icc: bytes | None, notes: list[str]) -> ImageArray:
    """Convert CMYK or LAB to sRGB."""
    if opened.mode == "LAB":
        notes.append("LAB becomes sRGB")
        return cast(ImageArray, np.asarray(profiles.converted(opened, None)))
    why = "without a colour profile" if icc is None else "with a colour profile that does not fit it"
    if icc is not None and profiles.space_of(icc) == "CMYK":
        with suppress(ValueError):
            pixels = np.asarray(profiles.converted(opened, icc))
            notes.append("CMYK becomes sRGB through the colour profile")
            return cast(ImageArray, pixels)
    notes.append(f"CMYK {why} becomes RGB; colours are approximate")
    return cast(ImageArray, np.asarray(opened.convert("RGB")))


def reduced_depth(opened: Image.Image, data: bytes) -> list[str]:
    """Say that AVIF or JPEG 2000 of more than 8 bits is read at 8."""
    bits = 8
    if opened.format == "AVIF" and (place := data.find(b"av1C")) > 0 and len(data) > place + 6:
        bits = (8, 10, 8, 12)[data[place + 6] >> 5 & 3]
    elif opened.format == "JPEG2000" and (place := data.find(b"\xff\x4f\xff\x51")) >= 0 and len(data) > place + 42:
        bits = (struct.unpack_from(">B", data, place + 42)[0] & 127) + 1
    return [f"its {bits} bits are read as 8; convert it to a 16-bit PNG to keep them"] if bits > 8 else []


def first_line(error: Exception) -> str:
    """Return what an error of a decoder says, in one line."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or type(error).__name__
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else f"it is malformed ({type(error).__name__})"
