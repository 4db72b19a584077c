"""Hash the encoded images of a stream in any container: proof that a copy holds what was encoded."""

import hashlib
import re

from av.packet import Packet
from av.video.stream import VideoStream

START_CODE = re.compile(rb"\x00\x00\x01")
LENGTH_BYTES_AT = {"h264": 4, "hevc": 21}
"""Where the configuration record of H.264 (ISO 14496-15, 5.3.3.1) and HEVC (8.3.3.1) gives the bytes of a length."""


class PayloadDigest:
    """Hash all images of one stream, packet after packet.

    Of H.264 and HEVC only the slices count: containers differ in how they part them, and some add parameter sets and
    delimiters. Of any other codec every byte counts.
    """

    def __init__(self, stream: VideoStream) -> None:
        self.codec = stream.codec_context.name
        self.codec = {"libx264": "h264", "libx265": "hevc"}.get(self.codec, self.codec)
        extradata = stream.codec_context.extradata or b""
        at = LENGTH_BYTES_AT.get(self.codec)
        has_record = at is not None and len(extradata) > at and extradata[0] == 1
        self.length_bytes = (extradata[at] & 3) + 1 if has_record and at is not None else 0
        self.digest = hashlib.sha256()

    def update(self, packet: Packet) -> None:
        """Add the images of a packet."""
        data = bytes(packet)
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
