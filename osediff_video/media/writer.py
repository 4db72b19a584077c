"""Frames into a film: exact times, the source's colour said and meant, sound copied, whole or not at all."""

import math
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.color import BT709, RGB, ColorConverter, is_rgb
from osediff_video.media.probe import open_film, reason
from osediff_video.media.streams import CopiedStreams, kept_tags
from osediff_video.media.target import CONTAINERS
from osediff_video.types import ColorTags, Frame, VideoInfo

LARGEST_TIMESCALE = 2**31 - 1
NEEDS_EVEN_SIZES = {"libx264", "libx265"}
"""In 4:2:0; the other encoders round chroma up."""


class VideoWriter:
    """Encodes one video stream and copies the sound of `audio_from` beside it.

    width, height: of the frames that will be written. notes: what the user should know, complete after construction.
    Everything that can fail for lack of a codec, a container's limits or a disk's fails at construction (OutputError,
    MediaError). The target appears, by one rename, when the writer is left without an exception.
    """

    def __init__(
        self, target: Path, info: VideoInfo, width: int, height: int, encoding: Encoding, audio_from: Path | None
    ) -> None:
        self.target, self.info, self.notes = target, info, list[str]()
        self.part = target.with_name(f".{target.name}.part")
        self.codec = encoding.codec_for(target.suffix)
        self.pix_fmt = encoding.pix_fmt or self.choose_pix_fmt(width, height)
        self.color = encoded_color(info.color, self.pix_fmt)
        self.convert = ColorConverter(self.color)
        self.open_files = ExitStack()
        try:
            self.container = self.open_files.enter_context(self.open_output())
            self.stream = self.add_video(width, height, encoding)
            self.copied = self.add_sound(audio_from)
            self.container.start_encoding()  # opens the encoder and writes the header: what fails, fails now
        except (av.FFmpegError, ValueError, OSError) as error:
            self.discard()
            raise OutputError(
                f"{target}: {self.codec} with {self.pix_fmt} at {width} x {height} cannot be written to "
                f"{target.suffix} ({reason(error)}); try another --codec, --pix-fmt or a .mkv file"
            ) from error
        except BaseException:
            self.discard()
            raise

    def choose_pix_fmt(self, width: int, height: int) -> str:
        chroma = "420"
        if self.codec in NEEDS_EVEN_SIZES and (width % 2 or height % 2):
            chroma = "444"
            self.notes.append(f"{width} x {height} is odd: encoded as 4:4:4, since 4:2:0 needs even sizes")
        return f"yuv{chroma}p10le" if self.info.bit_depth > 8 else f"yuv{chroma}p"

    def open_output(self) -> OutputContainer:
        container_format = CONTAINERS[self.target.suffix.lower()]
        options = {}
        if container_format in ("mp4", "mov"):
            # in these units every time of the source is a whole number, edit lists included
            scale = self.info.time_base.denominator
            options["video_track_timescale"] = str(scale)
            if (movie := math.lcm(1000, scale)) <= LARGEST_TIMESCALE:
                options["movie_timescale"] = str(movie)
        return av.open(str(self.part), "w", format=container_format, container_options=options)

    def add_video(self, width: int, height: int, encoding: Encoding) -> VideoStream:
        # rate is a hint for rate control only; the frames' own times go into the file
        stream = self.container.add_stream(
            self.codec, rate=self.info.frame_rate, options=encoding.options_for(self.codec)
        )
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, self.pix_fmt
        context.sample_aspect_ratio = self.info.sample_aspect_ratio
        context.time_base = self.info.time_base
        context.flags |= Flags.frame_duration
        context.colorspace, context.color_range = self.color.matrix, 2 if self.color.full_range else 1
        context.color_primaries, context.color_trc = self.color.primaries, self.color.transfer
        return stream

    def add_sound(self, audio_from: Path | None) -> CopiedStreams | None:
        if audio_from is None:
            return None
        source = self.open_files.enter_context(open_film(audio_from))
        self.container.metadata.update(kept_tags(source.metadata))
        copied = CopiedStreams(audio_from, source, self.container)
        self.notes += copied.notes
        return copied

    def write(self, frame: Frame) -> None:
        """Encode one frame. Raises OutputError when the encoder or the disk fails."""
        picture = self.convert.from_rgb(frame.image, self.pix_fmt)
        picture.pts, picture.time_base = frame.pts, self.info.time_base
        picture.duration = frame.duration
        try:
            self.mux(self.stream.encode(picture))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"{self.part}: writing failed at time {frame.pts * self.info.time_base} s ({reason(error)})"
            ) from error

    def mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            if self.copied and packet.dts is not None:
                self.copied.mux_until(packet.dts * Fraction(packet.time_base))
            self.container.mux_one(packet)

    def close(self) -> None:
        """Flush the encoder, copy the rest of the sound and put the file in its place. Raises OutputError."""
        try:
            self.mux(self.stream.encode(None))
            if self.copied:
                self.copied.mux_until(None)
            self.open_files.close()
            self.part.replace(self.target)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise OutputError(f"{self.target}: finishing the file failed ({reason(error)})") from error

    def discard(self) -> None:
        """Close everything and leave no trace; what stood at the target stays."""
        try:
            self.open_files.close()
        except (av.FFmpegError, OSError, ValueError):
            pass  # a half-written file need not close well
        finally:
            self.part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def encoded_color(color: ColorTags, pix_fmt: str) -> ColorTags:
    """The tags of what is encoded: the source's, but YCbCr made from RGB is BT.709 of limited range."""
    if is_rgb(pix_fmt):
        return ColorTags(RGB, color.primaries, color.transfer, True)
    if color.matrix == RGB:
        return ColorTags(BT709, BT709, BT709, False)
    return color
