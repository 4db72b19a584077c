"""Carry over everything of a video besides its images: packets as they are, or converted where they must be."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from osediff_video.media.carriers import ConvertedSound, ConvertedText, Copied, JoinedText
from osediff_video.media.chapters import carried_chapters
from osediff_video.media.container import UnreadableError, open_container, readable_packets, video_stream
from osediff_video.media.cut import Cut
from osediff_video.media.file_tags import carried_tags
from osediff_video.media.payload import PayloadDigest, Payloads, numbered
from osediff_video.media.reading.timeline import Timeline
from osediff_video.media.stream_plan import StreamPlan, add_copy
from osediff_video.types import Jump

ONE_AT_A_TIME = ("mov_text",)
"""Text formats of tracks that cannot hold lines which overlap."""


class OtherStreams:
    """Write all planned streams of one video to an output, with its tags and chapters. Use as a context.

    jumps: where the times of the source start again; the streams are continued as the video is.
    """

    def __init__(
        self, source: Path, plans: list[StreamPlan], output: OutputContainer, cut: Cut, jumps: Sequence[Jump] = ()
    ) -> None:
        self.output, self.cut, self.files = output, cut, ExitStack()
        self.carriers: dict[int, Copied] = {}
        self.last_dts: dict[int, int] = {}
        self.digests: dict[int, PayloadDigest] = {}
        self.moved = self.lost = 0
        self.waiting: Packet | None = None
        self.container = self.files.enter_context(open_container(source))
        forward = "mpegts" in self.container.format.name
        self.timelines = {s.index: Timeline(forward, list(jumps)) for s in self.container.streams} if jumps else {}
        for plan in plans:
            if plan.index >= 0:
                self.add(plan, self.container.streams[plan.index])
        self.packets: Iterator[Packet] = self.demux([self.container.streams[index] for index in self.carriers])
        output.metadata.update(carried_tags(self.container.metadata, output.format.name))
        output.set_chapters(carried_chapters(self.container, cut, output.format.name))

    def add(self, plan: StreamPlan, stream: Stream) -> None:
        if plan.action == "copy" and stream.type == "attachment":
            added = add_copy(self.output, stream)
        elif plan.action == "copy":
            self.carriers[plan.index] = Copied(stream, self.output, self.cut)
            added = self.carriers[plan.index].stream
            self.digests[added.index] = PayloadDigest(stream)
        elif plan.action == "convert":
            if isinstance(stream, SubtitleStream):
                kind = JoinedText if plan.to in ONE_AT_A_TIME else ConvertedText
                self.carriers[plan.index] = kind(stream, self.output, self.cut, plan.to)
            else:
                assert isinstance(stream, AudioStream)
                self.carriers[plan.index] = ConvertedSound(stream, self.output, self.cut, plan.to)
            added = self.carriers[plan.index].stream
        elif plan.action == "attach":
            image = next(packet for packet in self.container.demux(stream) if packet.size)
            self.container.seek(0)
            name = stream.metadata.get("filename") or f"cover.{plan.to.split('/')[1].replace('jpeg', 'jpg')}"
            added = self.output.add_attachment(name, plan.to, bytes(image))
        else:
            return
        tags = carried_tags(stream.metadata, self.output.format.name)
        if stream.type == "attachment" or plan.action == "attach":
            tags = {k: v for k, v in tags.items() if k.lower() not in ("filename", "mimetype")}
        added.metadata.update(tags)
        if plan.action != "attach":
            added.disposition = stream.disposition

    def tag_video(self, stream: Stream) -> None:
        """Give the upscaled stream the tags of the source's stream."""
        original = video_stream(self.container, Path())
        tags = carried_tags(original.metadata, self.output.format.name)
        if self.cut.start_s is not None:
            tags.pop("timecode", None)  # of another first frame
        stream.metadata.update(tags)
        stream.disposition = original.disposition

    def demux(self, streams: list[Stream]) -> Iterator[Packet]:
        """Yield packets to write, in the order of the source; damage between them is skipped."""
        with suppress(UnreadableError):  # the reader of the video tells of it
            for packet in readable_packets(self.container, streams) if streams else ():
                if packet.size:  # the demuxer ends with an empty packet for each stream: a signal to decoders
                    if packet.stream.index in self.timelines:
                        self.timelines[packet.stream.index].adjust(packet)
                    time_s = None if packet.dts is None else packet.dts * Fraction(packet.time_base)
                    yield from self.carriers[packet.stream.index].convert(packet)
                    if time_s is not None:
                        for carrier in self.carriers.values():
                            yield from carrier.advance(time_s)
        for carrier in self.carriers.values():
            yield from carrier.flush()

    def mux_until(self, time: Fraction | None) -> None:
        """Write every packet whose decoding time is at most `time` seconds; None writes all that is left."""
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
            else:
                if digest := self.digests.get(packet.stream.index):
                    digest.update(packet)

    def put_in_order(self, packet: Packet) -> None:
        """Move a packet forward where a damaged source goes back in time: decoding times of a stream must grow."""
        index, last = packet.stream.index, self.last_dts.get(packet.stream.index)
        if packet.dts is None:
            return
        if last is not None and packet.dts < last:
            packet.dts = last
            packet.pts = None if packet.pts is None else max(packet.pts, last)
            self.moved += 1
        self.last_dts[index] = packet.dts

    @property
    def payloads(self) -> Payloads:
        """Return the digest of each copied stream; of none where packets failed, as the muxer may mean earlier ones."""
        if self.lost:
            return {}
        names = numbered(self.output.streams)
        return {names[index]: digest.hexdigest() for index, digest in self.digests.items() if index in names}

    @property
    def notes(self) -> list[str]:
        """Return what could not be carried over as it was, known at the end."""
        losses = []
        if self.moved:
            losses.append(f"{self.moved} packets of other streams had times out of order and were moved")
        if self.lost:
            losses.append(f"{self.lost} damaged packets of other streams could not be written")
        return losses

    def __enter__(self) -> "OtherStreams":
        return self

    def __exit__(self, *error: object) -> None:
        self.files.close()
