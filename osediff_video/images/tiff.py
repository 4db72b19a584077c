"""Encode TIFF files of 8 or 16 bits per sample with everything an image carries; Pillow has no 16-bit RGB."""

import zlib
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

BLACK_IS_ZERO, RGB = 1, 2
DEFLATE, HORIZONTAL_DIFFERENCE, STRAIGHT_ALPHA = 8, 2, 2
XMP, ICC, EXIF_FOLDER, GPS_FOLDER = 700, 34675, 0x8769, 0x8825
STRUCTURE = {
    *range(254, 260), *range(262, 267), 273, *range(277, 285), 296, 297, *range(317, 326), 330, *range(332, 348),
    *range(512, 533), XMP, 33723, 34377, ICC,
}  # fmt: skip
"""Tags that say how the pixels of one file are stored, or that are carried in another way; never copied."""
HEAD_BYTES, LONG = 8, 4
LARGEST_BYTES = 2**32 - 2**20
"""What the 32-bit offsets of a TIFF reach, less room for its tags."""


def encode(
    pixels: NDArray[Any],
    *,
    icc: bytes | None = None,
    xmp: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encode (H, W, C) of uint8 or uint16; 2 or 4 channels end with straight alpha. Raises ValueError over 4 GB."""
    height, width, channels = pixels.shape
    strip = zlib.compress(differences(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes(), 6)
    if len(strip) > LARGEST_BYTES:
        raise ValueError("a TIFF ends at 4 GB; write .png")
    tags: Any = ImageFileDirectory_v2(prefix=b"II")
    for tag, value in described(exif).items():
        tags[tag] = value
    tags[256], tags[257], tags[258] = width, height, (pixels.itemsize * 8,) * channels
    tags[259], tags[317] = DEFLATE, HORIZONTAL_DIFFERENCE
    tags[262] = RGB if channels > 2 else BLACK_IS_ZERO
    tags[277], tags[278], tags[279], tags[284] = channels, height, len(strip), 1
    tags[273], tags.tagtype[273] = 0, LONG  # Pillow adds where its tags end
    if channels in (2, 4):
        tags[338] = STRAIGHT_ALPHA
    if dpi is not None:
        tags[282], tags[283], tags[296] = *dpi, 2
    for tag, data in ((ICC, icc), (XMP, xmp)):
        if data:
            tags[tag] = data
    return b"II*\0" + HEAD_BYTES.to_bytes(4, "little") + bytes(tags.tobytes(HEAD_BYTES)) + strip


def differences(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return every pixel less its left neighbour, modulo the depth, which compresses better."""
    result = pixels.copy()
    result[:, 1:] -= pixels[:, :-1]
    return result


def described(exif: bytes | None) -> dict[int, Any]:
    """Return the tags of an EXIF block that describe the image: those of its own and of the folders in it."""
    if not exif:
        return {}
    read = Image.Exif()
    read.load(exif)
    tags: dict[int, Any] = {tag: value for tag, value in read.items() if tag not in STRUCTURE}
    for folder in (EXIF_FOLDER, GPS_FOLDER):
        tags.pop(folder, None)
        if inner := dict(read.get_ifd(folder)):
            tags[folder] = inner
    return tags
