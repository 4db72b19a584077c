"""Hash the packets of a stream in any container: proof that a copy holds what was encoded, or read."""

import hashlib
import re
from collections.abc import Iterable

from av.packet import Packet
from av.stream import Disposition, Stream

START_CODE = re.compile(rb"\x00\x00\x01")
LENGTH_BYTES_AT = {"h264": 4, "hevc": 21}
"""Where the configuration record of H.264 (ISO 14496-15, 5.3.3.1) and HEVC (8.3.3.1) gives the bytes of a length."""

AV1, AV1_DELIMITER = ("libdav1d", "av1", "libaom-av1", "libsvtav1"), b"\x12\0"
"""Decoders and encoders of AV1, and the unit that some containers put before each image (AV1, 5.6)."""

COMPARED = ("video", "audio", "subtitle")
EMPTY_TEXT = b"\0\0"
"""MP4 fills the gaps between lines with such packets."""

Payloads = dict[tuple[str, int], str]
"""Digest of each stream that is compared, by its kind and its number among those of its kind."""


class PayloadDigest:
    """Hash everything in one stream, packet after packet.

    Of H.264 and HEVC only the slices count: containers differ in how they part them, and some add parameter sets and
    delimiters. AAC counts without the header that transport streams put before each packet, AV1 without delimiters. Of
    any other codec every byte counts, whatever packets it comes in.
    """

    def __init__(self, stream: Stream) -> None:
        context = stream.codec_context
        self.codec = "" if context is None else context.name
        self.codec = {"libx264": "h264", "libx265": "hevc"}.get(self.codec, self.codec)
        extradata = (None if context is None else context.extradata) or b""
        at = LENGTH_BYTES_AT.get(self.codec)
        has_record = at is not None and len(extradata) > at and extradata[0] == 1
        self.length_bytes = (extradata[at] & 3) + 1 if has_record and at is not None else 0
        self.digest = hashlib.sha256()

    def update(self, packet: Packet) -> None:
        """Add the images of a packet."""
        data = bytes(packet)
        if self.codec == "aac":
            data = without_adts(data)
        elif self.codec == "mov_text" and data == EMPTY_TEXT:
            return
        elif self.codec in AV1:
            data = data.removeprefix(AV1_DELIMITER)
        if self.codec not in LENGTH_BYTES_AT:
            self.digest.update(data)
            return
        for unit in split_lengths(data, self.length_bytes) if self.length_bytes else split_start_codes(data):
            if self.is_slice(unit):
                self.digest.update(unit)

    def is_slice(self, unit: bytes) -> bool:
        """Return whether a NAL unit holds a part of an image (H.264, table 7-1; HEVC, table 7-1)."""
        if not unit:
            return False
        return 1 <= unit[0] & 31 <= 5 if self.codec == "h264" else unit[0] >> 1 & 63 < 32

    def hexdigest(self) -> str:
        """Return the SHA-256 of everything so far."""
        return self.digest.hexdigest()


def numbered(streams: Iterable[Stream]) -> dict[int, tuple[str, int]]:
    """Return kind and number among its kind, by index, of the streams that are compared: no covers, no data."""
    names: dict[int, tuple[str, int]] = {}
    for stream in streams:
        if stream.type in COMPARED and not stream.disposition & Disposition.attached_pic:
            names[stream.index] = (stream.type, sum(kind == stream.type for kind, _ in names.values()))
    return names


def without_adts(data: bytes) -> bytes:
    """Return a packet of AAC without its ADTS header, if it has one (ISO 14496-3, 1.A.2.2)."""
    has_header = len(data) > 7 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0
    length = int.from_bytes(data[3:6]) >> 5 & 0x1FFF if has_header else 0
    return data[7 if data[1] & 1 else 9 :] if has_header and length == len(data) else data


def split_lengths(data: bytes, length_bytes: int) -> list[bytes]:
    """Return the NAL units of a packet in which each follows its length."""
    units, place = [], 0
    while place + length_bytes <= len(data):
        size = int.from_bytes(data[place : place + length_bytes])
        place += length_bytes
        units.append(data[place : place + size].rstrip(b"\0"))
        place += size
    return units


def split_start_codes(data: bytes) -> list[bytes]:
    """Return the NAL units of a packet in which each follows a start code (H.264, annex B)."""
    return [unit.rstrip(b"\0") for unit in START_CODE.split(data)[1:]]
