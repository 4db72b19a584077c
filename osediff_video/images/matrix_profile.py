"""Convert 16-bit RGB through ICC profiles made of three curves and a matrix; Pillow's LittleCMS ends at 8 bits.

ICC.1:2022, "Three-component matrix-based profiles".
"""

import struct

import numpy as np
from numpy.typing import NDArray

from osediff_video.types import ImageArray

Floats = NDArray[np.float64]

SRGB_FROM_D50 = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
"""Linear sRGB from XYZ under D50, adapted by Bradford: http://www.brucelindbloom.com, RGB/XYZ matrices."""
WHITE = 65535


def to_srgb_by_matrix(image: ImageArray, icc: bytes) -> ImageArray | None:
    """Convert (H, W, 3) of uint16 to sRGB, rounded to nearest; None for a profile that is not of this kind."""
    try:
        tags = read_tags(icc)
        columns = [read_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = [read_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
    except (KeyError, struct.error, ValueError):
        return None
    if b"A2B0" in tags:  # a table is the better description
        return None
    matrix = (SRGB_FROM_D50 @ np.stack(columns, axis=1)).astype(np.float32)
    result = np.empty_like(image)
    for number, row in enumerate(image):  # one row at a time: floats of a whole image take much memory
        linear = np.stack([curves[c][row[:, c]] for c in range(3)], axis=-1).astype(np.float32) @ matrix.T
        result[number] = np.rint(encode_srgb(np.clip(linear, 0, 1)) * WHITE)
    return result


def grey_levels(icc: bytes) -> NDArray[np.uint16] | None:
    """Return the level in sRGB of every code of a grey profile, (65536,); None for one that is not made of a curve."""
    try:
        linear = read_curve(read_tags(icc)[b"kTRC"])
    except (KeyError, struct.error, ValueError):
        return None
    return np.rint(encode_srgb(np.clip(linear, 0, 1).astype(np.float32)) * WHITE).astype(np.uint16)


def read_tags(icc: bytes) -> dict[bytes, bytes]:
    """Return the tags of a profile by signature. Raises struct.error for one that is cut off."""
    (count,) = struct.unpack_from(">I", icc, 128)
    entries = (struct.unpack_from(">4sII", icc, 132 + 12 * number) for number in range(min(count, 1000)))
    return {name: icc[offset : offset + size] for name, offset, size in entries}


def read_xyz(tag: bytes) -> Floats:
    """Return X, Y and Z."""
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def read_curve(tag: bytes) -> Floats:
    """Return the linear value of every code, (65536,). Raises ValueError for a kind that is not known."""
    codes = np.arange(WHITE + 1) / WHITE
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return codes
        table = np.frombuffer(tag, ">u2", count, 12)
        return codes ** (table[0] / 256) if count == 1 else np.interp(codes, np.linspace(0, 1, count), table / WHITE)
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        return parametric(codes, kind, [n / 65536 for n in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)])
    raise ValueError("unknown curve")


def parametric(codes: Floats, kind: int, numbers: list[float]) -> Floats:
    """Return a curve of the kinds 0 to 4, whose parameters are g, a, b, c, d, e, f in this order."""
    gamma = numbers[0]
    if kind == 0:
        return codes**gamma
    a, b = numbers[1:3]
    c = numbers[3] if kind > 1 else 0.0
    if kind < 3:
        return np.where(codes >= -b / a, np.maximum(a * codes + b, 0) ** gamma + c, c)
    d, (e, f) = numbers[4], numbers[5:7] if kind == 4 else (0.0, 0.0)
    return np.where(codes >= d, np.maximum(a * codes + b, 0) ** gamma + e, c * codes + f)


def encode_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the transfer function of IEC 61966-2-1 to values of 0 to 1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
