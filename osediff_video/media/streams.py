"""Everything of a film beside its pictures, carried over: packets as they are, or converted where they must be."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from osediff_video.media.plan import StreamPlan, add_copy
from osediff_video.media.probe import UnreadableError, film_stream, open_film, readable_packets

STATISTICS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_", "ENCODER", "ALPHA_MODE")
"""Tags that describe the encoding of the source and would lie about the result."""

MILLISECOND = Fraction(1, 1000)

OF_MP4 = ("MAJOR_BRAND", "MINOR_VERSION", "COMPATIBLE_BRANDS", "HANDLER_NAME", "VENDOR_ID")
"""Tags that describe an MP4 as a file; in another container they mean nothing."""

QUICKTIME_LANGUAGE = {"deu": "ger", "nld": "dut", "zho": "chi", "ell": "gre", "ces": "cze", "ron": "rum", "fas": "per"}
"""QuickTime knows languages by their bibliographic codes only."""


def kept_tags(tags: dict[str, str], container_format: str) -> dict[str, str]:
    """The tags of a file or stream that are still true in the result, in the words of its container."""
    is_mp4 = container_format in ("mp4", "mov")
    skipped = STATISTICS + OF_MP4[: 3 if is_mp4 else None]
    kept = {key: value for key, value in tags.items() if not key.upper().startswith(skipped)}
    if not is_mp4 and "name" in kept:
        kept["title"] = kept.pop("name")
    if container_format == "mov" and kept.get("language") in QUICKTIME_LANGUAGE:
        kept["language"] = QUICKTIME_LANGUAGE[kept["language"]]
    return kept


@dataclass(frozen=True)
class Cut:
    """The part of the source that is kept, in seconds of its clock; with a start, everything moves to begin at zero."""

    start_s: Fraction | None = None
    end_s: Fraction | None = None

    def __bool__(self) -> bool:
        return self.start_s is not None or self.end_s is not None

    @property
    def shift_s(self) -> Fraction:
        return self.start_s or Fraction(0)

    def shift(self, time_base: Fraction) -> int:
        """What is taken off every time, in units of `time_base`."""
        return round(self.shift_s / time_base)


WHOLE = Cut()


class Copied:
    """Passes packets untouched but for their times."""

    stream: Stream

    def __init__(self, stream: Stream, output: OutputContainer, cut: Cut) -> None:
        self.stream, self.cut = add_copy(output, stream), cut

    def convert(self, packet: Packet) -> list[Packet]:
        if self.cut and not self.move(packet):
            return []
        packet.stream = self.stream
        return [packet]

    def move(self, packet: Packet) -> bool:
        """Shift a packet to the clock of the cut; False if it lies outside."""
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

    def flush(self) -> list[Packet]:
        return []


class ConvertedText(Copied):
    """Subtitles from one text format to another."""

    def __init__(self, stream: SubtitleStream, output: OutputContainer, cut: Cut, codec: str) -> None:
        self.source, self.cut = stream, cut
        added = output.add_stream(codec)
        assert isinstance(added, SubtitleStream)
        self.stream, self.context = added, added.codec_context
        header = stream.codec_context.subtitle_header or stream.codec_context.extradata
        self.context.subtitle_header = header if header and b"[Script Info]" in header else ASS_HEADER
        self.context.time_base = self.stream.time_base = MILLISECOND

    def convert(self, packet: Packet) -> list[Packet]:
        decoded = self.source.decode2(packet)
        lines = [] if decoded is None else [rect.ass for rect in decoded.rects if isinstance(rect, AssSubtitle)]
        base = Fraction(packet.time_base)
        if not lines or packet.pts is None or not any(line.split(b",", 8)[-1].strip() for line in lines):
            return []  # MP4 fills the gaps between lines with empty ones
        start, length = (round(time * base / MILLISECOND) for time in (packet.pts, packet.duration or 0))
        text = SubtitleSet.create(lines[0], 0, length, pts=start * 1000)
        result = self.context.encode_subtitle(text)
        result.pts = result.dts = start
        result.duration, result.time_base = length, MILLISECOND
        if self.cut and not self.move(result):
            return []
        result.stream = self.stream
        return [result]


class ConvertedSound(Copied):
    """Sound decoded and encoded anew, at a bit rate nobody hears."""

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
        return [made for frame in frames for made in self.encode(frame)]

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


class OtherStreams:
    """All planned streams of one film in an output, with its tags and chapters. Use as a context."""

    def __init__(self, source: Path, plans: list[StreamPlan], output: OutputContainer, cut: Cut) -> None:
        self.output, self.cut, self.files = output, cut, ExitStack()
        self.carriers: dict[int, Copied] = {}
        self.last_dts: dict[int, int] = {}
        self.moved = self.lost = 0
        self.waiting: Packet | None = None
        self.container = self.files.enter_context(open_film(source))
        for plan in plans:
            if plan.index >= 0:
                self.add(plan, self.container.streams[plan.index])
        self.packets: Iterator[Packet] = self.demux([self.container.streams[index] for index in self.carriers])
        output.metadata.update(kept_tags(self.container.metadata, output.format.name))
        output.set_chapters(self.chapters(self.container))

    def add(self, plan: StreamPlan, stream: Stream) -> None:
        if plan.action == "copy" and stream.type == "attachment":
            added = add_copy(self.output, stream)
        elif plan.action == "copy":
            self.carriers[plan.index] = Copied(stream, self.output, self.cut)
            added = self.carriers[plan.index].stream
        elif plan.action == "convert":
            if isinstance(stream, SubtitleStream):
                self.carriers[plan.index] = ConvertedText(stream, self.output, self.cut, plan.to)
            else:
                assert isinstance(stream, AudioStream)
                self.carriers[plan.index] = ConvertedSound(stream, self.output, self.cut, plan.to)
            added = self.carriers[plan.index].stream
        elif plan.action == "attach":
            picture = next(packet for packet in self.container.demux(stream) if packet.size)
            self.container.seek(0)
            name = stream.metadata.get("filename") or f"cover.{plan.to.split('/')[1].replace('jpeg', 'jpg')}"
            added = self.output.add_attachment(name, plan.to, bytes(picture))
        else:
            return
        tags = kept_tags(stream.metadata, self.output.format.name)
        if stream.type == "attachment" or plan.action == "attach":
            tags = {k: v for k, v in tags.items() if k.lower() not in ("filename", "mimetype")}
        added.metadata.update(tags)
        if plan.action != "attach":
            added.disposition = stream.disposition

    def tag_film(self, stream: Stream) -> None:
        """Give the upscaled stream what the source's says of itself."""
        original = film_stream(self.container, Path())
        tags = kept_tags(original.metadata, self.output.format.name)
        if self.cut.start_s is not None:
            tags.pop("timecode", None)  # of another first frame
        stream.metadata.update(tags)
        stream.disposition = original.disposition

    def chapters(self, container: InputContainer) -> list:
        """The source's chapters, cut and moved with everything else."""
        kept = []
        for chapter in container.chapters():
            base = Fraction(chapter["time_base"] or 1)
            start, end = chapter["start"] * base, chapter["end"] * base
            if self.cut:
                first, last = self.cut.start_s or Fraction(0), self.cut.end_s if self.cut.end_s is not None else end
                if end <= first or start >= last:
                    continue
                start, end = max(start, first) - self.cut.shift_s, min(end, last) - self.cut.shift_s
            kept.append({**chapter, "start": round(start / base), "end": round(end / base), "time_base": base})
        return kept

    def demux(self, wanted: list[Stream]) -> Iterator[Packet]:
        """Packets to write, in the order of the source; damage between them is stepped over."""
        with suppress(UnreadableError):  # the reader of the film tells of it
            for packet in readable_packets(self.container, wanted) if wanted else ():
                if packet.size:  # the demuxer ends with an empty packet for each stream: a signal to decoders
                    yield from self.carriers[packet.stream.index].convert(packet)
        for carrier in self.carriers.values():
            yield from carrier.flush()

    def mux_until(self, time: Fraction | None) -> None:
        """Write every packet whose decoding time is at most `time` seconds; None is all that is left."""
        while True:
            packet = self.waiting or next(self.packets, None)
            self.waiting = None
            if packet is None:
                return
            if time is not None and packet.dts is not None and packet.dts * Fraction(packet.time_base) > time:
                self.waiting = packet
                return
            self.put_in_order(packet)
            try:
                self.output.mux_one(packet)
            except (av.ArgumentError, av.InvalidDataError):
                self.lost += 1

    def put_in_order(self, packet: Packet) -> None:
        """Decoding times of a stream must grow; where a damaged source goes back, its packet is moved forward."""
        index, last = packet.stream.index, self.last_dts.get(packet.stream.index)
        if packet.dts is None:
            return
        if last is not None and packet.dts < last:
            packet.dts = last
            packet.pts = None if packet.pts is None else max(packet.pts, last)
            self.moved += 1
        self.last_dts[index] = packet.dts

    @property
    def notes(self) -> list[str]:
        """What could not be carried over as it was, known at the end."""
        found = []
        if self.moved:
            found.append(f"{self.moved} packets of other streams had times out of order and were moved")
        if self.lost:
            found.append(f"{self.lost} damaged packets of other streams could not be written")
        return found

    def __enter__(self) -> "OtherStreams":
        return self

    def __exit__(self, *error: object) -> None:
        self.files.close()
