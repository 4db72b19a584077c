"""Encode pixels with what belongs to them in the format of a suffix."""

import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osediff_video.images import png, tiff
from osediff_video.images.metadata import Metadata, exif_with_dpi
from osediff_video.images.png import Chunk

LOSSY_QUALITY = 95
SIXTEEN_BIT = {".png", ".tif", ".tiff"}
JPEG_BLOCK = 65533
"""Bytes that a marker of a JPEG can hold."""
EXIF_HEAD = b"Exif\0\0"


def encode(
    pixels: NDArray[Any], suffix: str, icc: bytes | None, exif: bytes | None, metadata: Metadata
) -> bytes:  # fmt: skip
    """Encode (H, W, C) of uint8 or uint16: grey, grey with alpha, RGB or RGBA. Raises ValueError or OSError."""
    suffix = suffix.lower()
    if pixels.dtype == np.uint16 and suffix not in SIXTEEN_BIT:
        raise ValueError(f"a 16-bit image needs one of {' '.join(sorted(SIXTEEN_BIT))}")
    if suffix in (".tif", ".tiff"):
        return tiff.encode(pixels, icc=icc, xmp=metadata.xmp, exif=exif, dpi=metadata.dpi)
    if suffix == ".png":
        plain = png.encode_deep(pixels) if pixels.dtype == np.uint16 else by_pillow(pixels, ".png", {})
        return png.with_chunks(plain, png_chunks(icc, exif, metadata))
    carried: dict[str, Any] = {"quality": LOSSY_QUALITY, "icc_profile": icc, "exif": exif, "xmp": metadata.xmp}
    if suffix in (".jpg", ".jpeg"):
        carried |= {"comment": metadata.comment}
        if metadata.dpi is not None and max(metadata.dpi) < 65535:
            carried["dpi"] = metadata.dpi
    elif suffix == ".bmp":
        carried = {"dpi": metadata.dpi}
    elif metadata.dpi is not None:
        carried["exif"] = exif_with_dpi(exif, metadata.dpi)
    return by_pillow(pixels, suffix, {name: value for name, value in carried.items() if value})


def png_chunks(icc: bytes | None, exif: bytes | None, metadata: Metadata) -> list[Chunk]:
    chunks = metadata.png_chunks()
    if exif:
        chunks.insert(0, (b"eXIf", exif.removeprefix(EXIF_HEAD)))
    if icc:
        chunks = [chunk for chunk in chunks if chunk[0] != b"sRGB"]  # both together are against the standard
        chunks.insert(0, (b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
    return chunks


def by_pillow(pixels: NDArray[Any], suffix: str, carried: dict[str, Any]) -> bytes:
    """Return the file as Pillow writes it."""
    plain = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(plain))
    result = io.BytesIO()
    image.save(result, format=Image.registered_extensions()[suffix], **carried)
    return result.getvalue()
