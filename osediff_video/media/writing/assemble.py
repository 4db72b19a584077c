"""Write finished segments and all other streams of the source to one file, with exact times, whole or not at all."""

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from image_core.errors import MediaError, OutputError
from osediff_video.media.container import ffmpeg_name, open_container, reason
from osediff_video.media.cut import WHOLE, Cut
from osediff_video.media.file_tags import FREE_KEYS, needs_free_keys
from osediff_video.media.payload import PayloadDigest, Payloads, numbered
from osediff_video.media.stream_plan import StreamPlan, name_for_apple
from osediff_video.media.streams import OtherStreams
from osediff_video.media.writing.segment import Segment
from osediff_video.suffixes import CONTAINERS
from osediff_video.types import Jump

LARGEST_TIMESCALE = 2**31 - 1


@dataclass(frozen=True)
class Assembly:
    """List what to put together.

    rate: of the frames, a hint that only time code tracks need. alpha: the segments hold transparency.
    display_matrix: written instead of turned images. jumps: where the times of the source start again.
    timecode: of the first frame, where the file itself says none.
    """

    segments: list[Segment]
    folder: Path
    time_base: Fraction
    rate: Fraction
    source: Path | None
    streams: list[StreamPlan]
    alpha: bool = False
    cut: Cut = WHOLE
    display_matrix: tuple[int, ...] | None = None
    jumps: tuple[Jump, ...] = ()
    timecode: str | None = None


@dataclass(frozen=True)
class Assembled:
    """Report what was put together.

    notes: what the user should know.
    payloads: digests of the encoded images and of the copied streams.
    """

    notes: list[str]
    payloads: Payloads


def assemble(assembly: Assembly, part: Path, suffix: str) -> Assembled:
    """Write the file `part` in the format of `suffix`. Raises OutputError or MediaError; `part` is the caller's."""
    try:
        with ExitStack() as files:
            container_format = CONTAINERS[suffix.lower()]
            free_keys = has_free_keys(assembly.source, container_format)
            output = files.enter_context(open_output(part, container_format, assembly.time_base, free_keys))
            first = files.enter_context(open_container(assembly.folder / "00000.mkv"))
            video, others = add_video_copy(output, first.streams.video[0], assembly), None
            if assembly.source is not None:
                others = files.enter_context(
                    OtherStreams(assembly.source, assembly.streams, output, assembly.cut, assembly.jumps)
                )
                others.tag_video(video)
                if assembly.timecode:
                    video.metadata.setdefault("timecode", assembly.timecode)
            output.start_encoding()
            payload = PayloadDigest(first.streams.video[0])
            for packet in video_packets(assembly):
                payload.update(packet)
                if others is not None and packet.dts is not None:
                    others.mux_until(packet.dts * assembly.time_base)
                packet.stream = video
                output.mux_one(packet)
            if others is not None:
                others.mux_until(None)
            payloads = {numbered(output.streams)[video.index]: payload.hexdigest()}
            if others is None:
                return Assembled([], payloads)
            return Assembled(others.notes, payloads | others.payloads)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise OutputError(
            f"{part}: joining the segments failed ({reason(error)}); all finished frames are kept: make room or "
            "choose another container and run again"
        ) from error


def has_free_keys(source: Path | None, container_format: str) -> bool:
    if source is None:
        return False
    with open_container(source) as container:
        return needs_free_keys(container, container_format)


def open_output(path: Path, container_format: str, time_base: Fraction, free_keys: bool = False) -> OutputContainer:
    options = {}
    if container_format in ("mp4", "mov"):
        # in these units every time of the source is a whole number, edit lists included
        scale = time_base.denominator
        options["video_track_timescale"] = str(scale)
        options["movflags"] = "+faststart" + FREE_KEYS * free_keys
        if (movie := math.lcm(1000, scale)) <= LARGEST_TIMESCALE:
            options["movie_timescale"] = str(movie)
    return av.open(ffmpeg_name(path), "w", format=container_format, container_options=options)


def add_video_copy(output: OutputContainer, template: VideoStream, assembly: Assembly) -> VideoStream:
    video = output.add_stream_from_template(template, opaque=True)
    name_for_apple(video, output)
    video.time_base, video.codec_context.framerate = assembly.time_base, assembly.rate
    if assembly.alpha:
        video.metadata["alpha_mode"] = "1"  # VP9 keeps it in a second image beside the first, which players look for
    if assembly.display_matrix:
        video.set_display_matrix(assembly.display_matrix)
    return video


def video_packets(assembly: Assembly) -> Iterator[Packet]:
    """Yield the packets of all segments in a row, with new presentation and decoding times.

    Independently encoded segments cannot simply follow each other: with B-frames the decoding times of the second
    would begin before those of the first end. Decoding time i is the presentation time of frame i - delay, so that it
    grows and is never after the packet's own presentation.
    """
    segments, shift = assembly.segments, assembly.cut.shift(assembly.time_base)
    delay = max(segment.delay for segment in segments)
    times = sorted(pts - shift for segment in segments for pts in segment.order)
    step = times[1] - times[0] if len(times) > 1 else 1
    before = [times[0] - step * number for number in range(delay, 0, -1)]
    decode = iter(before + times)
    ends = {a: b - a for a, b in itertools.pairwise(times)}
    ends[times[-1]] = segments[-1].last_duration
    for segment in segments:
        path = segment.file(assembly.folder)
        with open_container(path) as container:
            count = 0
            for packet in container.demux(container.streams.video[0]):
                if not packet.size:
                    continue
                if count == len(segment.order):
                    raise MediaError(f"{path}: holds more frames than its record; remove it and run again")
                packet.pts = segment.order[count] - shift
                packet.dts, packet.time_base = next(decode), assembly.time_base
                packet.duration = ends[packet.pts]
                count += 1
                yield packet
        if count != len(segment.order):
            raise MediaError(
                f"{path}: holds {count} frames, its record says {len(segment.order)}; remove it and run again"
            )
