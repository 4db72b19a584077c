"""Decide, by trial and before work starts, what happens to every stream besides the one that is upscaled."""

import io
from dataclasses import dataclass
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from image_core.errors import OutputError
from osediff_video.media.container import FILE, open_container, video_stream
from osediff_video.media.file_tags import lost_tags

TEXT_SUBTITLE = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt", "webm": "webvtt"}
"""The text format that each container takes."""

SOUND = {"mp4": "aac", "mov": "aac", "mpegts": "aac", "webm": "libopus", "matroska": "flac"}
"""What sound is re-encoded to where it cannot be copied."""

TRANSPORT_STREAM = {
    "audio": {"mp2", "mp3", "mp3float", "aac", "aac_latm", "ac3", "eac3", "dca", "truehd", "opus", "libopus"},
    "subtitle": {"dvbsub", "dvb_subtitle", "dvb_teletext", "libzvbi_teletextdec"},
    "data": {"scte_35", "timed_id3", "klv"},
}
"""Decoders of what a transport stream can hold. FFmpeg's muxer takes anything, as private data nobody can read."""

COVER_MIME = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "gif": "image/gif", "webp": "image/webp"}


@dataclass(frozen=True)
class StreamPlan:
    """Describe one stream of the source and what happens to it; index -1 is of the file itself: chapters, tags.

    action: "upscale", "copy", "convert" (to the codec `to`), "attach" (a cover as an attachment), "rewrite" (its
    content is written from elsewhere) or "drop". reason, remedy: why not a plain copy, and what would keep it.
    """

    index: int
    kind: str
    codec: str
    action: str
    to: str = ""
    reason: str = ""
    remedy: str = ""

    @property
    def lossy(self) -> bool:
        return self.action in ("convert", "drop")

    def __str__(self) -> str:
        what = f"stream {self.index} ({self.kind}, {self.codec or 'unknown codec'})"
        if self.index < 0:
            what = f"the list of {self.kind}"
        return f"{what} {self.fate}"

    @property
    def fate(self) -> str:
        """Return what happens to the stream, and why, in words."""
        done = {
            "upscale": "is upscaled",
            "copy": "is copied",
            "drop": "is left out",
            "convert": f"becomes {self.to}",
            "attach": "becomes an attachment",
            "rewrite": "is kept",
        }[self.action]
        return done + f": {self.reason}" * bool(self.reason) + f"; {self.remedy}" * bool(self.remedy)


def plan_streams(path: Path, container_format: str) -> list[StreamPlan]:
    """Decide for every stream of the video `path` and a target of FFmpeg's `container_format`. Raises MediaError."""
    with open_container(path) as container:
        video = video_stream(container, path)
        titles = bool(container.chapters())
        return plan_file(container, container_format) + [
            StreamPlan(stream.index, "video", codec_name(stream), "upscale")
            if stream is video
            else plan_stream(stream, container_format, titles)
            for stream in container.streams
        ]


def plan_file(container: InputContainer, target: str) -> list[StreamPlan]:
    """Return what of the file itself, besides its streams, is left out."""
    lost = []
    if container.chapters() and target in ("mpegts", "gif"):
        lost.append(StreamPlan(-1, "chapters", "", "drop", "", f"{target} holds none", "write to .mkv or .mp4"))
    if tags := lost_tags(container, target):
        lost.append(
            StreamPlan(-1, "tags", "", "drop", "", f"{target} does not hold {', '.join(tags)}", "write to .mkv")
        )
    return lost


def plan_stream(stream: Stream, target: str, has_chapters: bool) -> StreamPlan:
    kind, codec = kind_of(stream), codec_name(stream)

    def planned(action: str, to: str = "", reason: str = "", remedy: str = "") -> StreamPlan:
        return StreamPlan(stream.index, kind, codec, action, to, reason, remedy)

    remedy = "write to .mkv to keep it" if target != "matroska" and accepts("matroska", stream) else ""
    if target == "gif":
        return planned("drop", reason="GIF holds images only", remedy="write to .mkv or .mp4")
    if kind == "chapter titles" and has_chapters and target != "mpegts":
        return planned("rewrite", reason="rewritten from the chapters")
    if kind == "timecode" and target in ("mp4", "mov", "matroska"):
        return planned("rewrite", reason="as a tag" if target == "matroska" else "rewritten from the video's tag")
    if kind == "cover" and target == "matroska" and codec in COVER_MIME:
        return planned("attach", to=COVER_MIME[codec])
    if kind == "cover" and target != "mp4":
        return planned("drop", reason=f"{target} holds no cover image", remedy="write to .mkv or .mp4 to keep it")
    if kind == "attachment" and target != "matroska":  # WebM's muxer takes them and writes none
        return planned("drop", reason=f"{target} holds no attachments", remedy=remedy)
    if accepts(target, stream):
        return planned("copy", reason="as it is: only one video is upscaled" if kind == "video" else "")
    if kind == "subtitle" and target in TEXT_SUBTITLE and is_text(stream):
        return planned("convert", TEXT_SUBTITLE[target], f"{target} does not hold {codec}; styles may be lost", remedy)
    if kind == "audio" and not has_parameters(stream):
        return planned("drop", reason="its sample rate or channels cannot be known; is it damaged?")
    if kind == "audio" and target in SOUND:
        return planned("convert", SOUND[target], f"{target} does not hold {codec}", remedy)
    if stream.codec_context is None and kind in ("audio", "video", "subtitle"):
        return planned("drop", reason="FFmpeg does not know what it is")
    return planned("drop", reason=f"{target} does not hold it", remedy=remedy)


def has_parameters(stream: Stream) -> bool:
    context = stream.codec_context
    return isinstance(context, AudioCodecContext) and bool(context.sample_rate and context.channels)


def kind_of(stream: Stream) -> str:
    if stream.type == "video" and stream.disposition & Disposition.attached_pic:
        return "cover"
    in_mov, is_gopro = (
        stream.container.format.name.startswith("mov"),
        "GoPro" in stream.metadata.get("handler_name", ""),
    )
    if stream.type == "data" and codec_name(stream) == "bin_data" and in_mov and not is_gopro:
        return "chapter titles"  # QuickTime keeps them as a text track of its own
    if stream.type == "data" and "timecode" in stream.metadata:
        return "timecode"
    return stream.type


def codec_name(stream: Stream) -> str:
    context = stream.codec_context
    # what FFmpeg does not know has neither codec nor name
    return context.name if context is not None else getattr(stream, "name", None) or ""


def is_text(stream: Stream) -> bool:
    return codec_name(stream) in ("srt", "subrip", "ass", "ssa", "mov_text", "webvtt", "text", "sami", "microdvd")


def accepts(container_format: str, stream: Stream) -> bool:
    """Return whether the format can hold this stream, by writing a header with it alone into memory."""
    if container_format == "mpegts" and codec_name(stream) not in TRANSPORT_STREAM.get(stream.type, set()):
        return False
    written = io.BytesIO()
    try:
        with av.open(written, "w", format=container_format) as trial:
            added = add_copy(trial, stream)
            trial.start_encoding()
            if stream.type in ("audio", "data"):  # some headers are taken that no packet, or no end, may follow
                mux_first_packet(trial, added, stream)
        return stream.type != "data" or is_readable(written, stream)
    except (av.FFmpegError, ValueError, TypeError):
        return False


def is_readable(written: io.BytesIO, stream: Stream) -> bool:
    """Return whether the trial holds data of the kind of `stream`, and not bytes that nobody knows the meaning of."""
    if not codec_name(stream):
        return False
    written.seek(0)
    with av.open(written) as container:
        return [(copy.type, codec_name(copy)) for copy in container.streams] == [(stream.type, codec_name(stream))]


def mux_first_packet(output: OutputContainer, target: Stream, stream: Stream) -> None:
    with open_container(Path(stream.container.name.removeprefix(FILE))) as source:
        packet = next((p for p in source.demux(source.streams[stream.index]) if p.size), None)
        if packet is not None:
            packet.stream = target
            output.mux_one(packet)


def add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream to `output` that takes the packets of `stream` as they are."""
    if stream.type == "attachment":
        name = stream.metadata.get("filename", f"attachment_{stream.index}")
        return output.add_attachment(name, stream.mimetype or "application/octet-stream", stream.data)  # type: ignore[attr-defined]
    # opaque: a video stream's parameters exactly as they are, no encoder is ever opened
    added = output.add_stream_from_template(stream, opaque=True if stream.type == "video" else None)
    if isinstance(added, VideoStream):
        name_for_apple(added, output)
    return added


def name_for_apple(stream: VideoStream, output: OutputContainer) -> None:
    """Name HEVC "hvc1" in MP4 and MOV, with its parameters in the header: Apple's players know no "hev1"."""
    if stream.codec_context.name in ("hevc", "libx265") and output.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"


def try_streams(path: Path, plans: list[StreamPlan], container_format: str) -> None:
    """Write the header with all copied streams together into memory. Raises OutputError if it fails."""
    try:
        with open_container(path) as source, av.open(io.BytesIO(), "w", format=container_format) as output:
            copied = [plan for plan in plans if plan.action == "copy"]
            for plan in copied:
                add_copy(output, source.streams[plan.index])
            if copied:
                output.start_encoding()
    except (av.FFmpegError, ValueError) as error:
        raise OutputError(
            f"{path}: its streams cannot be kept together in {container_format} ({error}); write to .mkv instead"
        ) from error
