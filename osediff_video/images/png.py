"""Read and write the chunks of PNG files, and encode 16 bits per sample, which Pillow cannot."""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = len(SIGNATURE) + 25
"""Where the header chunk ends, which always comes first and has 13 bytes."""
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> colour type: grey, grey with alpha, RGB, RGBA."""
UP = 2
"""The filter that stores a row as its difference from the one above."""

Chunk = tuple[bytes, bytes]
"""Name and data."""


def chunks(data: bytes) -> Iterator[Chunk]:
    """Yield every chunk, checked. Raises ValueError for a file that is cut off or whose checksums do not match."""
    position = len(SIGNATURE)
    while True:
        head = data[position : position + 8]
        if len(head) < 8:
            raise ValueError("the PNG is cut off")
        length, name = struct.unpack(">I4s", head)
        body = data[position + 8 : position + 8 + length]
        check = data[position + 8 + length : position + 12 + length]
        if len(body) < length or len(check) < 4:
            raise ValueError(f"the PNG is cut off in its chunk {name.decode('latin-1')}")
        if zlib.crc32(name + body) != int.from_bytes(check, "big"):
            raise ValueError(f"the PNG is damaged: the checksum of its chunk {name.decode('latin-1')} is wrong")
        yield name, body
        if name == b"IEND":
            return
        position += 12 + length


def pack(name: bytes, body: bytes) -> bytes:
    """Return a chunk as it stands in a file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(png: bytes, added: Sequence[Chunk]) -> bytes:
    """Return the file with more chunks, right after its header."""
    return png[:HEADER_END] + b"".join(pack(*chunk) for chunk in added) + png[HEADER_END:]


def encode_deep(pixels: NDArray[Any]) -> bytes:
    """Encode (H, W, C) of uint16 with one to four channels as a PNG."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    # the first row has none above it
    filtered[:, 0] = UP
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOR_TYPES[channels], 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), 6)
    return SIGNATURE + pack(b"IHDR", header) + pack(b"IDAT", body) + pack(b"IEND", b"")
