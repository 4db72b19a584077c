"""Write closed captions into encoded packets, where players look for them.

H.264 and HEVC carry them in a supplemental message (SEI), AV1 in a metadata unit (OBU), all three in the same form:
a message registered by ITU-T T.35 (ATSC A/53, part 4, 6.2.3).
"""

from av.packet import Packet

MOST_TRIPLETS = 31
"""What one message holds; a frame may have several."""

PREFIX_SEI = {"h264": b"\x06", "hevc": b"\x4e\x01"}
"""Header of the NAL unit that holds the message."""

T35_SEI = 4
OBU_METADATA_WITH_SIZE, T35_METADATA, TRAILING_BIT = b"\x2a", b"\x04", b"\x80"
OBU_SEQUENCE, OBU_DELIMITER = 1, 2


def caption_codec(encoder: str) -> str | None:
    """Return the codec that an encoder of FFmpeg writes if captions can be put into it, else None."""
    for codec, marks in {"h264": ("264",), "hevc": ("265", "hevc"), "av1": ("av1",)}.items():
        if any(mark in encoder for mark in marks) and "rgb" not in encoder:
            return codec
    return None


def with_captions(packet: Packet, captions: bytes, codec: str) -> Packet:
    """Return the packet with captions, cc_data in triplets of bytes, added in front of its image."""
    data = bytes(packet)
    size = 3 * MOST_TRIPLETS
    messages = [t35_message(captions[at : at + size]) for at in range(0, len(captions), size)]
    if codec == "av1":
        at = after_headers(data)
        added = b"".join(metadata_unit(message) for message in messages)
    else:
        at = before_first_slice(data, codec)
        added = b"".join(sei_unit(message, codec) for message in messages)
    result = Packet(data[:at] + added + data[at:])
    result.pts, result.dts, result.time_base = packet.pts, packet.dts, packet.time_base
    result.duration, result.is_keyframe, result.stream = packet.duration, packet.is_keyframe, packet.stream
    return result


def t35_message(captions: bytes) -> bytes:
    """Return captions as a message: country, provider, "GA94", cc_data."""
    count = len(captions) // 3
    return b"\xb5\x00\x31GA94\x03" + bytes([0x40 | count, 0xFF]) + captions + b"\xff"


def sei_unit(message: bytes, codec: str) -> bytes:
    """Return a NAL unit after a start code, escaped so that none begins within it (H.264, 7.4.1)."""
    payload = PREFIX_SEI[codec] + bytes([T35_SEI, len(message)]) + message + TRAILING_BIT
    escaped, zeros = bytearray(), 0
    for value in payload:
        if zeros >= 2 and value <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return b"\x00\x00\x00\x01" + bytes(escaped)


def before_first_slice(data: bytes, codec: str) -> int:
    """Return the place of the start code of the first unit that holds a part of an image."""
    at = data.find(b"\x00\x00\x01")
    while 0 <= at < len(data) - 3:
        header = data[at + 3]
        is_slice = 1 <= header & 31 <= 5 if codec == "h264" else header >> 1 & 63 < 32
        if is_slice:
            return at - 1 if at and not data[at - 1] else at
        at = data.find(b"\x00\x00\x01", at + 3)
    return 0


def metadata_unit(message: bytes) -> bytes:
    """Return a metadata OBU with its size (AV1, 5.8.2)."""
    payload = T35_METADATA + message + TRAILING_BIT
    return OBU_METADATA_WITH_SIZE + leb128(len(payload)) + payload


def leb128(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first (AV1, 4.10.5)."""
    encoded = bytearray()
    while True:
        value, low = value >> 7, value & 127
        encoded.append(low | (128 if value else 0))
        if not value:
            return bytes(encoded)


def after_headers(data: bytes) -> int:
    """Return the place behind the temporal delimiter and the sequence header that begin a packet of AV1."""
    at = 0
    while at < len(data) and data[at] >> 3 & 15 in (OBU_SEQUENCE, OBU_DELIMITER) and data[at] & 2:
        place, size, shift = at + 1 + (data[at] >> 2 & 1), 0, 0
        while True:
            size |= (data[place] & 127) << shift
            shift, place = shift + 7, place + 1
            if not data[place - 1] & 128:
                break
        at = place + size
    return at
