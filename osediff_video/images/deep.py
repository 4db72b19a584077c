"""Decode more than 8 bits per sample, which Pillow reduces or clips without a word."""

import re
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from image_core.images import to_eight_bit
from osediff_video.types import Plane

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # it prints to standard error what is raised here as an error
WHITE = 65535
BITS, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 338, 339
WHITE_IS_ZERO, PREMULTIPLIED, STRAIGHT, UNSIGNED = 0, 1, 2, 1
Deep = NDArray[np.uint16]


def read_pnm(data: bytes) -> Deep | None:
    """Return the pixels of a PGM or PPM of more than 8 bits, (H, W) or (H, W, 3); None for any other file.

    Raises ValueError for one that is cut off.
    """
    gap = rb"(?:\s|#[^\n\r]*[\n\r])+"
    head = re.match(rb"P([2356])" + gap + rb"(\d{1,6})" + gap + rb"(\d{1,6})" + gap + rb"(\d{1,5})\s", data)
    if head is None or not 255 < int(head[4]) <= WHITE:
        return None
    channels, width, height, peak = 3 if head[1] in b"36" else 1, int(head[2]), int(head[3]), int(head[4])
    count, rest = width * height * channels, data[head.end() :]
    if head[1] in b"56":
        codes = np.frombuffer(rest[: 2 * count], ">u2") if len(rest) >= 2 * count else np.zeros(0, np.uint16)
    else:
        codes = np.array(re.sub(rb"#[^\n\r]*", b"", rest).split()[:count], np.uint32)
    if len(codes) < count or count == 0:
        raise ValueError(f"holds {len(codes)} samples of {count}: it is cut off")
    values = (np.minimum(codes, peak).astype(np.uint32) * WHITE + peak // 2) // peak
    return values.astype(np.uint16).reshape((height, width, 3)[: 2 if channels == 1 else 3])


def read_deep_png(data: bytes, loaded: Image.Image, clear: bytes | None) -> tuple[Deep, Plane | None]:
    """Return colour and alpha of a PNG of 16 bits.

    loaded: the same file as Pillow has it, to compare with. clear: what its tRNS chunk says is transparent.
    """
    color, alpha = agreed(decoded(data), loaded, straight=True)
    is_grey = not data[25] & 2  # the colour type
    if is_grey and color.ndim == 3:
        color = np.ascontiguousarray(color[..., 0])
    if is_grey and alpha is None and clear is not None and len(clear) == 2:
        alpha = np.where(color == int.from_bytes(clear, "big"), 0, WHITE).astype(np.uint16)
    return color, alpha


def read_deep_tiff(data: bytes, loaded: Image.Image) -> tuple[Deep, Plane | None] | None:
    """Return colour and alpha of a TIFF of 12 or 16 bits, None for one of at most 8, and for floats and integers.

    Raises ValueError for numbers of which it is not known what is white, and for what two decoders read differently.
    """
    tags = loaded.tag_v2  # type: ignore[attr-defined]
    bits = set(tags.get(BITS, (1,)))
    if max(bits) <= 8 or loaded.mode in ("F", "I"):  # those are judged by their values
        return None
    if set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED} or max(bits) > 16:
        raise ValueError(f"holds signed or {max(bits)}-bit numbers as {loaded.mode}; save it as unsigned 16 bit")
    if loaded.mode.startswith("I;16"):
        codes = np.asarray(loaded).astype(np.uint16)
        if bits == {12}:
            codes = ((codes.astype(np.uint32) * WHITE + 2047) // 4095).astype(np.uint16)
        return (WHITE - codes if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else codes), None
    if loaded.mode not in ("RGB", "RGBA", "RGBX") or bits != {16}:
        raise ValueError(f"holds {max(bits)} bits per sample as {loaded.mode}; save it as RGB or grey")
    extra = tags.get(EXTRA_SAMPLES, ())
    color, alpha = agreed(decoded(data), loaded, straight=PREMULTIPLIED not in extra)
    if PREMULTIPLIED in extra and alpha is not None:
        share = np.maximum(alpha, 1)[..., None].astype(np.float64) / WHITE
        color = np.rint(np.minimum(color / share, WHITE)).astype(np.uint16)
    return color, alpha if {PREMULTIPLIED, STRAIGHT} & set(extra) else None


def decoded(data: bytes) -> Deep:
    """Return the samples as OpenCV decodes them. Raises ValueError where it does not, or not to 16 bits."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"its 16 bits cannot be decoded ({error.err})") from error
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("its 16 bits cannot be decoded in this layout; save it as a plain 16-bit PNG")
    return cast(Deep, pixels)


def agreed(pixels: Deep, loaded: Image.Image, *, straight: bool) -> tuple[Deep, Plane | None]:
    """Return RGB or grey, and alpha, from OpenCV's order of channels.

    loaded: what Pillow made of the same file, the upper byte of each sample. Raises ValueError where both differ.
    straight: the samples are not multiplied by alpha, so that they can be compared.
    """
    grey = loaded.mode in ("L", "LA", "I", "I;16", "I;16B")
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    color = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., 2::-1])
    if grey and color.ndim == 3:
        color = np.ascontiguousarray(color[..., 0])
    if straight:
        eight = np.asarray(loaded)
        if loaded.mode.startswith("I"):
            same = np.array_equal(eight, color)
        else:
            expected = eight.reshape(*eight.shape[:2], -1)[..., : 1 if grey else 3]
            upper = color if color.ndim == 3 else color[..., None]
            expected = expected.reshape(upper.shape)
            same = expected.shape == upper.shape and bool(
                np.all((expected == upper >> 8) | (expected == to_eight_bit(upper)))
            )
        if not same:
            raise ValueError("two decoders read its 16 bits differently; save it as a plain 16-bit PNG")
    return color, alpha


def scaled_floats(loaded: Image.Image) -> tuple[Deep, str]:
    """Return the levels of an image of numbers between 0 and 1, and a sentence on it. Raises ValueError for others."""
    values = np.asarray(loaded)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if loaded.mode != "F" or not (np.isfinite(values).all() and low >= 0 and high <= 1):
        kind = "floating-point numbers" if loaded.mode == "F" else "signed or 32-bit integers"
        raise ValueError(
            f"holds {kind} from {low:g} to {high:g}, "
            "of which it is not known what is black and what is white; save it as 16 bit, or as floats from 0 to 1"
        )
    if getattr(loaded, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = 1 - values
    return np.rint(values * WHITE).astype(np.uint16), "floating-point numbers from 0 to 1 become 16 bits"
