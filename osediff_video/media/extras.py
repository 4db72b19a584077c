"""Look for what travels inside a video stream beside its images: captions, dynamic HDR, a second view."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import av
from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame

from osediff_video.media.container import UnreadableError, open_container, readable_packets, video_stream
from osediff_video.media.payload import START_CODE, split_lengths
from osediff_video.media.probe import side_data

CAPTIONS = "closed captions (CEA-608/708)"
TIME_CODE = "a time code in the images (SMPTE 12M)"
DOLBY_VISION = "Dolby Vision metadata"
SECOND_LAYER = "a second view or layer (MV-HEVC, SHVC)"
STEREO = "the description of stereo 3D"
STEREO_TAG = "the stereo mode of Matroska (3D)"
UNNAMED = "side data of a kind unknown here"

NAMES = {
    SideData.A53_CC: CAPTIONS,
    SideData.S12M_TIMECODE: TIME_CODE,
    SideData.DOVI_RPU_BUFFER: DOLBY_VISION,
    SideData.DOVI_METADATA: DOLBY_VISION,
    SideData.DYNAMIC_HDR_PLUS: "HDR10+ dynamic metadata",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid dynamic metadata",
    SideData.STEREO3D: STEREO,
    SideData.SPHERICAL: "the description of a spherical video (360 or 180 degrees)",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "the ambient viewing environment (HDR)",
    SideData.ICC_PROFILE: "a colour profile (ICC)",
    SideData.AFD: "the active format description (AFD)",
    SideData.DETECTION_BBOXES: "bounding boxes of detected objects",
}
"""Side data of frames that means something to a viewer. Others describe an encoding, which ends with it."""

CAPTION_MARKS = (b"\xb5\x00\x31GA94\x03", b"\x00\x00\x01\xb2GA94\x03")
"""How captions begin in the packets of H.264, HEVC and AV1 (ITU-T T.35, ATSC A/53) and of MPEG-2."""

SAMPLE_FRAMES = 60
SAMPLE_PACKETS = 2000
HEVC_RPU, HEVC_ENHANCEMENT = 62, 63
"""NAL unit types in which HEVC carries Dolby Vision."""


def extras_of(frame: VideoFrame) -> set[str]:
    """Return the names of what one decoded frame carries."""
    try:
        return {NAMES[item.type] for item in cast(SideDataContainer, frame.side_data) if item.type in NAMES}
    except ValueError:  # PyAV knows no name for one of them, and then shows none
        return {UNNAMED}


def captions_of(frame: VideoFrame) -> bytes:
    """Return the closed captions of a frame, three bytes for each pair of characters (CTA-708, cc_data)."""
    return side_data(frame, SideData.A53_CC) or b""


def find_extras(path: Path) -> tuple[tuple[str, ...], str | None]:
    """Return what the first frames carry, sorted, and the time code of the first; captions are looked for further on.

    Raises MediaError.
    """
    extras: set[str] = set()
    timecode: str | None = None
    with open_container(path) as container:
        stream = video_stream(container, path)
        codec = stream.codec_context.name
        decoded = 0
        with suppress(av.FFmpegError, UnreadableError):  # damage is reported by the reader
            for number, packet in enumerate(readable_packets(container, [stream])):
                extras |= extras_in(packet, codec, stream.codec_context.extradata or b"")
                if decoded < SAMPLE_FRAMES:
                    for frame in stream.decode(packet):
                        extras |= extras_of(frame)
                        timecode = frame.metadata.get("timecode") if decoded == 0 else timecode
                        decoded += 1
                if number == SAMPLE_PACKETS:
                    break
        if STEREO in extras and "stereo_mode" in stream.metadata:
            extras.add(STEREO_TAG)
    return tuple(sorted(extras)), timecode


def extras_in(packet: Packet, codec: str, extradata: bytes) -> set[str]:
    """Return what can be seen in a packet that is not decoded, or that decoders do not show."""
    data = bytes(packet)
    extras = {CAPTIONS} if any(mark in data for mark in CAPTION_MARKS) else set()
    if codec == "hevc":
        for kind, layer in hevc_units(data, extradata):
            if kind in (HEVC_RPU, HEVC_ENHANCEMENT):
                extras.add(DOLBY_VISION)
            elif layer:
                extras.add(SECOND_LAYER)
    return extras


def hevc_units(data: bytes, extradata: bytes) -> Iterator[tuple[int, int]]:
    """Yield type and layer of every NAL unit of a packet (H.265, 7.3.1.2)."""
    is_record = len(extradata) > 21 and extradata[0] == 1
    units = split_lengths(data, (extradata[21] & 3) + 1) if is_record else START_CODE.split(data)[1:]
    for unit in units:
        if len(unit) > 1:
            yield unit[0] >> 1 & 63, (unit[0] & 1) << 5 | unit[1] >> 3
