"""Frames out of a video: all of them, upright, in RGB, each with its exact time, over damage where there is some."""

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.color import ColorConverter
from osediff_video.media.container import UnreadableError, open_container, readable_packets, reason, video_stream
from osediff_video.media.deinterlace import Timed, deinterlaced
from osediff_video.media.probe import ALPHA_DECODER
from osediff_video.types import Bookmark, Faults, Frame, VideoInfo, checksum_of

MOST_DAMAGED_IN_A_ROW = 100
SEEK_MARGIN_S = 5


class VideoSource:
    """The frames of a video from `start_s` (included) to `end_s` (not), both in seconds of its own clock.

    deinterlace: weave fields into whole images.
    last_sign: when anything last came out of the demuxer or decoder, by the monotonic clock; a watchdog reads it.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        start_s: Fraction | None = None,
        end_s: Fraction | None = None,
        deinterlace: bool = False,
    ) -> None:
        self.info, self.faults = info, Faults()
        self.start_s, self.end_s, self.deinterlace = start_s, end_s, deinterlace
        self.last_sign = time.monotonic()

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
        self.faults = Faults()
        info, count = self.info, 0
        self.last_sign = time.monotonic()
        usual = max(1, round(1 / (info.frame_rate * info.time_base)))
        convert = ColorConverter(info.color)
        held: tuple[VideoFrame, int] | None = None  # until its successor's time says how long it lasts
        for frame, pts in self.timed_frames(start_s):
            if held is not None:
                if pts is None:
                    pts = held[1] + (held[0].duration or usual)
                pts = max(pts, held[1] + 1)  # no encoder takes a time that is not after its predecessor's
                count += 1
                if count > skip:
                    yield self.frame(convert, held[0], held[1], pts - held[1])
            held = (frame, pts or 0)
        if held is None:
            raise MediaError(f"{info.path}: holds no frame that can be decoded{self.in_range()}")
        if count >= skip:
            yield self.frame(convert, *held, held[0].duration or usual)

    def in_range(self) -> str:
        if self.start_s is None and self.end_s is None:
            return ""
        end = "its end" if self.end_s is None else f"{float(self.end_s):g} s"
        return f" from {float(self.start_s or 0):g} s to {end}"

    def frame(self, convert: ColorConverter, frame: VideoFrame, pts: int, duration: int) -> Frame:
        info = self.info
        size = (info.height, info.width) if info.orientation.transpose else (info.width, info.height)
        image, alpha = convert.to_rgb(frame, *size, info.bit_depth > 8, info.alpha)
        alpha = None if alpha is None else info.orientation(alpha)
        return Frame(info.orientation(image), pts, duration, alpha)

    def timed_frames(self, start_s: Fraction | None) -> Iterator[Timed]:
        """Decoded frames from `start_s` to the wanted end."""
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
        """All frames, or with `seek` at least those from `start_s` on."""
        jump = seek and start_s is not None and start_s > 2 * SEEK_MARGIN_S
        with open_container(self.info.path) as container:
            stream = video_stream(container, self.info.path)
            frames = self.decode(container, stream)
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

    def decode(self, container: InputContainer, stream: VideoStream) -> Generator[Timed, None, None]:
        """Good frames in order of presentation; for a packet that gives none, the last good frame at its time."""
        decoder = self.decoder(stream)
        waiting: set[int] = set()  # times of packets whose frames have not come out yet
        owed = in_a_row = 0  # damaged packets that have not been made up for
        last: VideoFrame | None = None

        def made_up(times: list[int]) -> Iterator[Timed]:
            nonlocal owed
            for time_lost in times[:owed]:
                if last is None:
                    return  # nothing yet to stand in for them
                self.faults.repeated.append(time_lost)
                owed -= 1
                yield last, time_lost

        for packet in self.packets(container, stream):
            if packet.pts is not None and packet.size and not packet.is_discard:
                waiting.add(packet.pts)
            try:
                frames = decoder.decode(packet)
                in_a_row = 0 if frames else in_a_row
            except (av.InvalidDataError, av.error.UndefinedError, av.error.PatchWelcomeError) as error:
                owed, in_a_row, frames = owed + 1, in_a_row + 1, []
                if in_a_row > MOST_DAMAGED_IN_A_ROW:
                    self.faults.cut_short = f"{in_a_row} damaged packets in a row ({reason(error)})"
                    break
            except av.EOFError:  # flushed before: a damaged file ended more than once
                break
            except av.FFmpegError as error:
                raise MediaError(f"{self.info.path}: decoding failed ({reason(error)})") from error
            for frame in frames:
                pts = frame.pts
                if pts is not None:
                    # output is in order: what is still waiting from before this frame will never come
                    late = sorted(time for time in waiting if time < pts)
                    yield from made_up(late)
                    waiting.difference_update(late)
                    waiting.discard(pts)
                self.faults.concealed += frame.is_corrupt
                last = frame
                yield frame, pts
        if not self.faults.cut_short:
            yield from made_up(sorted(waiting))

    def decoder(self, stream: VideoStream) -> VideoCodecContext:
        """The stream's own decoder, or the one that also decodes a hidden alpha plane."""
        name = stream.codec_context.name
        if not self.info.alpha or name not in ALPHA_DECODER:
            return stream.codec_context
        decoder = VideoCodecContext.create(ALPHA_DECODER[name], "r")
        assert isinstance(decoder, VideoCodecContext)
        decoder.extradata = stream.codec_context.extradata
        return decoder

    def packets(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
        """The video's packets and the flushing one. Reads all streams to see whether the file stops too early."""
        streams = [s for s in container.streams if s is stream or s.type in ("audio", "video")]
        reached = Fraction(0)
        try:
            for packet in readable_packets(container, streams):
                self.last_sign = time.monotonic()
                if packet.pts is not None and packet.time_base:
                    reached = max(reached, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
                if packet.stream.index == stream.index:  # a flushing packet has no stream_index of its own
                    yield packet
        except UnreadableError as error:
            self.faults.cut_short = str(error)
        self.check_end(container, reached)

    def check_end(self, container: InputContainer, reached: Fraction) -> None:
        """Note a file that promised more than it held."""
        if not container.duration or self.faults.cut_short:
            return
        promised = Fraction(container.duration + (container.start_time or 0), 1_000_000)
        if reached < promised - max(Fraction(1, 2), promised / 20):
            self.faults.cut_short = f"at {float(reached):.2f} s of {float(promised):.2f} s the file stops"


def is_marked(frame: Frame, bookmark: Bookmark) -> bool:
    """Return whether a frame is the one that the bookmark describes."""
    return frame.pts == bookmark.pts and checksum_of(frame.image) == bookmark.checksum
