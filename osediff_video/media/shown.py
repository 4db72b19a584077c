"""Tell packets whose image is never shown: a decoder gives nothing for them, and nothing is lost."""

from av.packet import Packet


def is_shown(codec: str, packet: Packet) -> bool:
    """Return whether a packet holds an image that is shown; VP8 and VP9 know others, to predict from.

    VP8: RFC 6386, section 9.1, the bit show_frame. VP9: bitstream specification, uncompressed_header; in a superframe
    (annex B) the last image is shown.
    """
    if codec not in ("vp8", "vp9") or not packet.size:
        return True
    data = bytes(packet)
    if codec == "vp8":
        return bool(data[0] >> 4 & 1)
    if data[-1] >> 5 == 0b110:
        return True
    bits = f"{data[0]:08b}{data[1] if len(data) > 1 else 0:08b}"
    place = 5 if bits[2:4] == "11" else 4  # profile 3 has a reserved bit
    shows_existing, shows = bits[place] == "1", bits[place + 2] == "1"
    return shows_existing or shows
