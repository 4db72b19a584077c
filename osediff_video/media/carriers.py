"""Carry the packets of one stream into the output: copied as they are, or converted where they must be."""

from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from osediff_video.media.cut import Cut
from osediff_video.media.stream_plan import add_copy
from osediff_video.media.subtitle_lines import Line, LineSplitter, joined, text_of
from osediff_video.types import MILLISECOND

LATE_S = 5
"""By how much a file may hold subtitles later than the sound of their time."""


class Copied:
    """Copy packets unchanged except for their times."""

    stream: Stream

    def __init__(self, stream: Stream, output: OutputContainer, cut: Cut) -> None:
        self.stream, self.cut = add_copy(output, stream), cut
        self.last_dts: int | None = None

    def convert(self, packet: Packet) -> list[Packet]:
        self.give_duration(packet)
        if self.cut and not self.move(packet):
            return []
        packet.stream = self.stream
        return [packet]

    def give_duration(self, packet: Packet) -> None:
        """Let sound or an image of unknown duration last as long as the one before: MP4 would end before the last."""
        if packet.stream.type in ("audio", "video") and not packet.duration and packet.dts is not None:
            packet.duration = max(0, packet.dts - self.last_dts) if self.last_dts is not None else 0
        self.last_dts = packet.dts

    def move(self, packet: Packet) -> bool:
        """Shift a packet to the clock of the cut; return False if it lies outside."""
        base = Fraction(packet.time_base)
        start = None if self.cut.start_s is None else self.cut.start_s / base
        end = None if self.cut.end_s is None else self.cut.end_s / base
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or (end is not None and time >= end):
            return False
        shift = round(start or 0)
        if start is not None and time < start:
            length = packet.duration or 0
            if self.stream.type != "subtitle" or time + length <= start:
                return False
            packet.duration, packet.pts = time + length - shift, shift  # a line already on screen at the cut
            packet.dts = shift
        if end is not None and self.stream.type == "subtitle" and packet.duration:
            packet.duration = min(packet.duration, round(end) - max(time, shift))
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        return True

    def advance(self, time_s: Fraction) -> list[Packet]:  # noqa: ARG002 - for those that hold packets back
        """Return packets that were held back until the other streams came to this time."""
        return []

    def flush(self) -> list[Packet]:
        return []


class ConvertedText(Copied):
    """Convert subtitles from one text format to another."""

    def __init__(self, stream: SubtitleStream, output: OutputContainer, cut: Cut, codec: str) -> None:
        self.source, self.cut = stream, cut
        added = output.add_stream(codec)
        assert isinstance(added, SubtitleStream)
        self.stream, self.context = added, added.codec_context
        header = stream.codec_context.subtitle_header or stream.codec_context.extradata
        self.context.subtitle_header = header if header and b"[Script Info]" in header else ASS_HEADER
        self.context.time_base = self.stream.time_base = MILLISECOND

    def convert(self, packet: Packet) -> list[Packet]:
        line = self.decoded(packet)
        return [] if line is None else self.encoded(line)

    def decoded(self, packet: Packet) -> Line | None:
        """Return the text of a packet; None where it holds none."""
        result = self.source.decode2(packet)
        events = [] if result is None else [rect.ass for rect in result.rects if isinstance(rect, AssSubtitle)]
        events = [event for event in events if text_of(event).strip()]
        if not events or packet.pts is None:
            return None  # MP4 fills the gaps between lines with empty ones
        base = Fraction(packet.time_base)
        start, length = (round(time * base / MILLISECOND) for time in (packet.pts, packet.duration or 0))
        return Line(start, start + length, joined(events))

    def encoded(self, line: Line) -> list[Packet]:
        """Return the packet of a line, or nothing where it lies outside of the cut."""
        length = line.end - line.start
        text = SubtitleSet.create(line.event, 0, length, pts=line.start * 1000)
        result = self.context.encode_subtitle(text)
        result.pts = result.dts = line.start
        result.duration, result.time_base = length, MILLISECOND
        if self.cut and not self.move(result):
            return []
        result.stream = self.stream
        return [result]


class JoinedText(ConvertedText):
    """Convert subtitles for a container that shows one text at a time: lines that overlap are shown together."""

    def __init__(self, stream: SubtitleStream, output: OutputContainer, cut: Cut, codec: str) -> None:
        super().__init__(stream, output, cut, codec)
        self.splitter = LineSplitter()

    def convert(self, packet: Packet) -> list[Packet]:
        line = self.decoded(packet)
        return [] if line is None else self.all_encoded(self.splitter.add(line))

    def advance(self, time_s: Fraction) -> list[Packet]:
        """Return what has ended well before the time that other streams have come to."""
        return self.all_encoded(self.splitter.until(round((time_s - LATE_S) / MILLISECOND)))

    def flush(self) -> list[Packet]:
        return self.all_encoded(self.splitter.rest())

    def all_encoded(self, lines: list[Line]) -> list[Packet]:
        return [packet for line in lines for packet in self.encoded(line)]


class ConvertedSound(Copied):
    """Decode sound and encode it again, at a bit rate whose loss nobody hears."""

    def __init__(self, stream: AudioStream, output: OutputContainer, cut: Cut, codec: str) -> None:
        self.decoder = source = stream.codec_context
        self.cut = cut
        rate = 48000 if codec == "libopus" else source.sample_rate
        added = output.add_stream(codec, rate=rate, layout=source.layout.name)
        assert isinstance(added, AudioStream)
        self.stream = self.encoder = added
        if codec != "flac":
            added.codec_context.bit_rate = 96_000 * max(1, source.channels)
        self.resampler = AudioResampler(added.codec_context.format, source.layout.name, rate)
        self.shifted = round(cut.shift_s * rate)

    def convert(self, packet: Packet) -> list[Packet]:
        time = packet.pts if packet.pts is not None else packet.dts
        if self.cut and time is not None:
            time_s = time * Fraction(packet.time_base)
            before = self.cut.start_s is not None and time_s < self.cut.start_s
            if before or (self.cut.end_s is not None and time_s >= self.cut.end_s):
                return []
        try:
            frames = self.decoder.decode(packet)
        except av.InvalidDataError:
            return []  # as a player would: silence for one packet
        return [encoded for frame in frames for encoded in self.encode(frame)]

    def encode(self, frame: AudioFrame | None) -> list[Packet]:
        packets = []
        for whole in self.resampler.resample(frame):
            if whole.pts is not None:
                whole.pts -= self.shifted
            packets += self.encoder.encode(whole)
        return packets

    def flush(self) -> list[Packet]:
        return self.encode(None) + self.encoder.encode(None)


ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\nPlayResX: 384\r\nPlayResY: 288\r\n\r\n[V4+ Styles]\r\nFormat: Name, "
    b"Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    b"StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, "
    b"Encoding\r\nStyle: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\r\n\r\n"
    b"[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)
"""What the text formats without styles are converted with."""
