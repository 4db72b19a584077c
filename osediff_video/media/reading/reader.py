"""Read all frames of a video, upright, in RGB, each with its exact time; damage is skipped and reported."""

import math
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.aspects import Aspects
from osediff_video.media.container import UnreadableError, open_container, readable_packets, reason, video_stream
from osediff_video.media.deinterlace import Timed, deinterlaced
from osediff_video.media.probe import ALPHA_DECODER
from osediff_video.media.reading.file_end import FileEnd
from osediff_video.media.reading.frame_converter import FrameConverter
from osediff_video.media.reading.timeline import Timeline
from osediff_video.media.shown import is_shown
from osediff_video.types import Bookmark, Faults, Frame, Jump, VideoInfo, checksum_of

MOST_DAMAGED_IN_A_ROW = 100
SEEK_MARGIN_S = 5


class VideoSource:
    """Read the frames of a video from `start_s` (included) to `end_s` (excluded), in seconds of its own clock.

    deinterlace: weave fields into whole images. strict: what changes in mid-video is an error.
    jumps: where times start again, found while reading. last_sign: see `Source`.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        start_s: Fraction | None = None,
        end_s: Fraction | None = None,
        deinterlace: bool = False,
        strict: bool = False,
    ) -> None:
        self.info, self.faults = info, Faults()
        self.start_s, self.end_s, self.deinterlace, self.strict = start_s, end_s, deinterlace, strict
        self.jumps: list[Jump] = []
        self.aspects = Aspects()
        self.last_sign = math.inf

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:
        """Decode from start to end, the decoder's delayed frames included; the first `skip` are not converted.

        bookmark: of the frame number `skip`; it is looked for near its time, and from the start where that fails.
        Frames are uint8 for sources of 8 bit, uint16 for deeper ones, of the size in `info`. Raises MediaError when
        the video cannot be opened or no frame comes out at all; `faults` tells what else went wrong.
        """
        if bookmark is None:
            yield from self.decoded(self.start_s, skip)
            return
        frames = self.decoded(bookmark.pts * self.info.time_base, 0)
        first = None
        with suppress(MediaError):
            first = next(frames, None)
        if first is not None and is_marked(first, bookmark) and not self.faults:
            yield first
            yield from frames
            return
        frames.close()
        yield from self.decoded(self.start_s, skip)

    def decoded(self, start_s: Fraction | None, skip: int) -> Generator[Frame, None, None]:
        """Yield the frames at and after `start_s` but for the first `skip`."""
        self.faults, self.jumps, self.aspects = Faults(), [], Aspects()
        info, count = self.info, 0
        usual = max(1, round(1 / (info.frame_rate * info.time_base)))
        convert = FrameConverter(info, self.faults, self.strict, self.aspects)
        held: tuple[VideoFrame, int] | None = None  # until its successor's time says how long it lasts
        try:
            self.last_sign = time.monotonic()
            for frame, pts in self.timed_frames(start_s):
                if held is not None:
                    if pts is None:
                        pts = held[1] + (held[0].duration or usual)
                    elif pts <= held[1]:  # no encoder takes a time that is not after its predecessor's
                        self.faults.moved += 1
                        pts = held[1] + 1
                    count += 1
                    if count > skip:
                        result = convert(held[0], held[1], pts - held[1])
                        self.last_sign = math.inf  # from here on others work
                        yield result
                        self.last_sign = time.monotonic()
                held = (frame, pts or 0)
            if held is None:
                raise MediaError(f"{info.path}: holds no frame that can be decoded{self.in_range()}")
            if count >= skip:
                result = convert(*held, held[0].duration or usual)
                self.last_sign = math.inf
                yield result
        finally:
            self.last_sign = math.inf

    def in_range(self) -> str:
        if self.start_s is None and self.end_s is None:
            return ""
        end = "its end" if self.end_s is None else f"{float(self.end_s):g} s"
        return f" from {float(self.start_s or 0):g} s to {end}"

    def timed_frames(self, start_s: Fraction | None) -> Iterator[Timed]:
        """Yield decoded frames from `start_s` to the selected end."""
        base, started = self.info.time_base, False
        for frame, pts in self.from_start(start_s, seek=True):
            time_s = None if pts is None else pts * base
            if start_s is not None and not started:
                if time_s is not None and time_s < start_s:
                    continue
                started = True
            if self.end_s is not None and time_s is not None and time_s >= self.end_s:
                return
            yield frame, pts

    def from_start(self, start_s: Fraction | None, seek: bool) -> Iterator[Timed]:
        """Yield all frames, or with `seek` at least those from `start_s` on."""
        jump = seek and start_s is not None and start_s > 2 * SEEK_MARGIN_S
        with open_container(self.info.path) as container:
            stream = video_stream(container, self.info.path)
            frames = self.decode(container, stream, start_s, sought=jump)
            if jump and start_s is not None:
                container.seek(int((start_s - SEEK_MARGIN_S) * 1_000_000))
                first = next(frames, None)
                landed = first is not None and first[1] is not None and first[1] * self.info.time_base <= start_s
                if not landed:  # an index that lies: read from the beginning instead
                    frames.close()
                    yield from self.from_start(start_s, seek=False)
                    return
                assert first is not None
                yield first
            yield from deinterlaced(frames, stream) if self.deinterlace else frames

    def decode(
        self, container: InputContainer, stream: VideoStream, start_s: Fraction | None = None, sought: bool = False
    ) -> Generator[Timed, None, None]:
        """Yield frames in order of presentation, and for a packet that gives none the last good frame at its time.

        sought: reading does not begin at the start of the file, so that less than all of it can be expected.
        """
        decoder, codec = self.decoder(stream), stream.codec_context.name
        waiting: set[int] = set()  # times of packets whose frames have not come out yet
        in_a_row = 0
        last: VideoFrame | None = None
        last_pts = 0
        base = self.info.time_base

        def stand_in(times: Iterable[int]) -> Iterator[Timed]:
            for time_lost in times:
                if last is not None:
                    self.faults.repeated.append(time_lost)
                    yield last, time_lost
                elif start_s is None or time_lost * base >= start_s:
                    self.faults.lost.append(time_lost)

        for packet in self.packets(container, stream, sought):
            if packet.pts is not None and packet.size and not packet.is_discard and is_shown(codec, packet):
                waiting.add(packet.pts)
            try:
                frames = decoder.decode(packet)
                in_a_row = 0 if frames else in_a_row
            except (av.InvalidDataError, av.error.UndefinedError, av.error.PatchWelcomeError) as error:
                in_a_row, frames = in_a_row + 1, []
                if in_a_row > MOST_DAMAGED_IN_A_ROW:
                    self.faults.cut_short = f"{in_a_row} damaged packets in a row ({reason(error)})"
                    return
            except av.EOFError:  # flushed before: a damaged file ended more than once
                break
            except av.FFmpegError as error:
                raise MediaError(f"{self.info.path}: decoding failed ({reason(error)})") from error
            self.aspects.see(packet, decoder.sample_aspect_ratio)
            for frame in frames:
                pts = frame.pts
                if pts is not None:
                    # output is in order: what is still waiting from before this frame will never come
                    late = sorted(time for time in waiting if time < pts)
                    waiting.difference_update(late)
                    waiting.discard(pts)
                    if last is not None and frame.interlaced_frame:
                        late = [time for time in late if not is_second_field(time, last_pts, pts)]
                    yield from stand_in(late)
                    last_pts = pts
                self.faults.concealed += frame.is_corrupt
                last = frame
                yield frame, pts
        fields = last is not None and last.interlaced_frame
        rest = sorted(time for time in waiting if time > last_pts or last is None)
        yield from stand_in(rest[1:] if fields and len(rest) == 1 else rest)

    def decoder(self, stream: VideoStream) -> VideoCodecContext:
        """Return the stream's own decoder, or one that also decodes a hidden alpha plane."""
        name = stream.codec_context.name
        if not self.info.alpha or name not in ALPHA_DECODER:
            return stream.codec_context
        decoder = VideoCodecContext.create(ALPHA_DECODER[name], "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata = stream.codec_context.extradata
        return decoder

    def packets(self, container: InputContainer, stream: VideoStream, sought: bool) -> Iterator[Packet]:
        """Yield the video's packets, on one clock, and the flushing one.

        All streams are read, to see whether the file ends where it promises.
        """
        timeline = Timeline(forward="mpegts" in container.format.name)
        end = FileEnd(container, stream, sought)
        try:
            for packet in readable_packets(container, list(container.streams)):
                self.last_sign = time.monotonic()
                if packet.stream.index == stream.index:  # a flushing packet has no stream_index of its own
                    before = len(timeline.jumps)
                    timeline.adjust(packet)
                    if len(timeline.jumps) > before:
                        self.jumps.append(timeline.jumps[-1])
                        self.faults.joined.append(round(timeline.jumps[-1].at_s / self.info.time_base))
                    end.see_video(packet)
                    yield packet
                else:
                    end.see_other(packet)
        except UnreadableError as error:
            self.faults.cut_short = str(error)
        if not self.faults.cut_short:
            self.faults.cut_short = end.shortfall(jumped=bool(self.jumps))


def is_second_field(time: int, before: int, after: int) -> bool:
    """Return whether a packet at `time` can be the second field of a frame: it lies halfway between two frames."""
    return abs((time - before) * 2 - (after - before)) * 4 < after - before


def is_marked(frame: Frame, bookmark: Bookmark) -> bool:
    """Return whether a frame is the one that the bookmark describes."""
    return frame.pts == bookmark.pts and checksum_of(frame.image) == bookmark.checksum
