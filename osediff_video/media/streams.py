"""Streams that are copied: their packets pass untouched, each in its turn beside the video."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from image_core.errors import MediaError

STATISTICS = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_", "ENCODER")
"""Tags that describe the encoding of the source and would lie about the result."""


def kept_tags(tags: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.upper().startswith(STATISTICS)}


def accepts(container_format: str, stream: Stream) -> bool:
    """Whether the format can hold this stream: a header with it alone is written into memory."""
    try:
        with av.open(io.BytesIO(), "w", format=container_format) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


class CopiedStreams:
    """All sound of a film, copied packet by packet, with their times as they are."""

    def __init__(self, source: Path, container: InputContainer, output: OutputContainer) -> None:
        """Add a stream to `output` for each. Raises MediaError for one that the output's format cannot hold."""
        self.output, self.pairs, self.notes = output, dict[int, Stream](), list[str]()
        for stream in container.streams.audio:
            if stream.codec_context is None:
                self.notes.append(f"stream {stream.index} is sound of an unknown kind and is left out")
                continue
            name = stream.codec_context.name
            if not accepts(output.format.name, stream):
                raise MediaError(
                    f"{source}: stream {stream.index} ({name} sound) cannot be kept in {output.format.name}; "
                    "write to a .mkv file instead"
                )
            copy = output.add_stream_from_template(stream)
            copy.metadata.update(kept_tags(stream.metadata))
            copy.disposition = stream.disposition
            self.pairs[stream.index] = copy
        wanted = [container.streams[index] for index in self.pairs]
        self.packets: Iterator[Packet] = container.demux(wanted) if wanted else iter(())
        self.waiting: Packet | None = None

    def mux_until(self, time: Fraction | None) -> None:
        """Write every packet whose decoding time is at most `time` seconds; None is all that is left."""
        while (packet := self.next_packet()) is not None:
            if time is not None and packet.dts is not None and packet.dts * packet.time_base > time:
                self.waiting = packet
                return
            packet.stream = self.pairs[packet.stream.index]
            self.output.mux_one(packet)

    def next_packet(self) -> Packet | None:
        if self.waiting is not None:
            packet, self.waiting = self.waiting, None
            return packet
        # the demuxer ends with an empty packet for each stream: a signal to decoders, nothing to copy
        return next((packet for packet in self.packets if packet.size), None)
