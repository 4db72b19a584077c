"""Compare where a file ends with where its container says that it does."""

from collections.abc import Mapping
from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

TOLERANCE_S = Fraction(1, 4)
COUNT_TOLERANCE = 2
"""Some writers count a frame that they did not store."""

TRANSPORT_PACKETS = (188, 192, 204)
"""Bytes of a packet of a transport stream: plain, with a time code (M2TS), with error correction."""


class FileEnd:
    """Record the packets of a file, and report at the end what is missing.

    sought: reading did not begin at the start, so that packets cannot be counted.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, sought: bool) -> None:
        self.container, self.stream, self.sought = container, stream, sought
        self.count, self.video_s, self.all_s = 0, Fraction(0), Fraction(0)
        self.last_s: Fraction | None = None
        self.longest_s = Fraction(0)

    def see_video(self, packet: Packet) -> None:
        """Note a packet of the video."""
        if packet.size:
            self.count += 1
            self.video_s = max(self.video_s, end_of(packet))
            self.all_s = max(self.all_s, self.video_s)
            if packet.dts is not None and packet.time_base:
                now_s = packet.dts * Fraction(packet.time_base)
                self.longest_s = max(self.longest_s, now_s - (now_s if self.last_s is None else self.last_s))
                self.last_s = now_s

    def see_other(self, packet: Packet) -> None:
        """Note a packet of another stream."""
        if packet.size:
            self.all_s = max(self.all_s, end_of(packet))

    def shortfall(self, jumped: bool) -> str | None:
        """Return what the container promised beyond what came, in words; None when all is there.

        jumped: the times start again, so that durations mean nothing. An index that counts images is compared to the
        image; else the duration of the video's own track, or of the file, which is that of its longest stream.
        """
        name = self.container.format.name
        if "mov" in name and self.stream.frames and not self.sought:
            if self.count < self.stream.frames - COUNT_TOLERANCE:
                return f"the index lists {self.stream.frames} images, the file holds {self.count}"
            return None
        if "mpegts" in name and self.container.size > 0:
            if all(self.container.size % size for size in TRANSPORT_PACKETS):
                return f"the file stops within a packet, at {float(self.video_s):.2f} s"
            return None
        if jumped:
            return None
        # Matroska counts from zero, others from the first time in the file
        from_zero = "matroska" in name
        track_s = track_duration(self.stream, from_zero)
        reached, promised = self.video_s, track_s
        # the last image may be shown for long, which its packet need not say
        tolerance_s = max(TOLERANCE_S, self.longest_s)
        if name == "avi" and self.stream.frames and self.stream.average_rate:
            # FFmpeg shortens the duration of a cut file; the header's count, in images of one duration, stays
            step_s = 1 / Fraction(self.stream.average_rate)
            promised, tolerance_s = self.stream.frames * step_s, COUNT_TOLERANCE * step_s
        if promised is None:
            reached, promised = self.all_s, self.file_duration(from_zero)
        if promised is None or reached >= promised - tolerance_s:
            return None
        return f"at {float(reached):.2f} s of {float(promised):.2f} s the file stops"

    def file_duration(self, from_zero: bool) -> Fraction | None:
        """Return where the container says that its longest stream ends, in seconds."""
        if not self.container.duration:
            return None
        begin = 0 if from_zero else self.container.start_time or 0
        return Fraction(self.container.duration + begin, 1_000_000)


def end_of(packet: Packet) -> Fraction:
    """Return when what a packet holds ends, in seconds."""
    stamp = packet.dts if packet.pts is None else packet.pts
    if stamp is None or not packet.time_base:
        return Fraction(0)
    return (stamp + (packet.duration or 0)) * Fraction(packet.time_base)


def track_duration(stream: VideoStream, from_zero: bool) -> Fraction | None:
    """Return where the video's own track ends by its header or, in Matroska, by its statistics; in seconds."""
    if stream.duration and stream.time_base:
        return (stream.duration + (0 if from_zero else stream.start_time or 0)) * Fraction(stream.time_base)
    return tagged_duration(stream.metadata)


def tagged_duration(tags: Mapping[str, str]) -> Fraction | None:
    """Return the time in a tag DURATION such as "00:00:24.000000000", in seconds."""
    words = next((value for key, value in tags.items() if key.upper().split("-")[0] == "DURATION"), "")
    parts = words.split(":")
    try:
        numbers = [Fraction(part) for part in parts]
    except (ValueError, ZeroDivisionError):
        return None
    return numbers[0] * 3600 + numbers[1] * 60 + numbers[2] if len(numbers) == 3 and len(words) < 40 else None
