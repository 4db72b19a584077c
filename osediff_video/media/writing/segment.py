"""Encode a stretch of the video to a file of its own, which survives when the job is interrupted."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av

from image_core.errors import OutputError
from image_core.storage.files import flush_to_disk, sha256
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.media.container import ffmpeg_name, reason
from osediff_video.media.writing.encoder import Encoder, EncoderPlan, add_video
from osediff_video.types import Bookmark, Frame


@dataclass(frozen=True)
class Segment:
    """Describe a finished stretch of the result and what its file must be.

    index: from 0 on. order: presentation times of its packets in the order of the file, in the video's time base; the
    file's own times are Matroska's, rounded to milliseconds. last_duration: of the last frame, in the same units.
    bytes, sha256: of the file. bookmark: where the source is read from for the next segment, None is its beginning.
    """

    index: int
    order: tuple[int, ...]
    last_duration: int
    bytes: int
    sha256: str
    bookmark: Bookmark | None = None

    @property
    def delay(self) -> int:
        """Return how many packets the encoder runs ahead of presentation."""
        rank = {pts: number for number, pts in enumerate(sorted(self.order))}
        return max(number - rank[pts] for number, pts in enumerate(self.order))

    def file(self, folder: Path) -> Path:
        """Return the name of the encoded frames in the job's folder."""
        return segment_file(folder, self.index)

    def save(self, folder: Path) -> None:
        """Write the record, after which the segment counts as finished. Raises OSError."""
        write_sealed(self.file(folder).with_suffix(".json"), asdict(self))

    def is_intact(self, folder: Path) -> bool:
        """Return whether the file still is what was written."""
        file = self.file(folder)
        try:
            return file.stat().st_size == self.bytes and sha256(file) == self.sha256
        except OSError:
            return False


def segment_file(folder: Path, index: int) -> Path:
    """Return the name of a segment's encoded frames in a job's folder; its record has the suffix .json."""
    return folder / f"{index:05d}.mkv"


def adopt_segment(folder: Path, part: Path, values: dict[str, Any]) -> Segment | None:
    """Let a file that came from elsewhere join the finished segments; None where it is not what its record says.

    part: lies in `folder`. Raises OSError.
    """
    segment = parse_segment(values)
    if segment is None or part.stat().st_size != segment.bytes or sha256(part) != segment.sha256:
        return None
    flush_to_disk(part)
    part.replace(segment.file(folder))
    segment.save(folder)
    return segment


def load_segments(folder: Path) -> list[Segment]:
    """Return the finished segments from the first up to one that is missing or not as it was written."""
    segments: list[Segment] = []
    while (segment := load_segment(folder, len(segments))) is not None:
        segments.append(segment)
    return segments


def load_segment(folder: Path, index: int) -> Segment | None:
    """Return a finished segment; None where it is missing or not as it was written."""
    values = read_sealed(segment_file(folder, index).with_suffix(".json"))
    segment = None if values is None else parse_segment(values)
    return segment if segment is not None and segment.index == index and segment.is_intact(folder) else None


def parse_segment(values: dict[str, Any]) -> Segment | None:
    """Return the segment that a record describes; None for the record of another version."""
    try:
        bookmark = None if values["bookmark"] is None else Bookmark(**values["bookmark"])
        return Segment(**{**values, "order": tuple(values["order"]), "bookmark": bookmark})
    except (KeyError, TypeError):
        return None


class SegmentWriter:
    """Encode frames to `folder`/INDEX.mkv; the segment counts once `finish` has written INDEX.json beside it."""

    def __init__(self, folder: Path, index: int, plan: EncoderPlan) -> None:
        self.folder, self.index, self.plan = folder, index, plan
        self.path = segment_file(folder, index)
        self.part = self.path.with_name(self.path.name + ".part")
        self.count = 0
        self.order: list[int] = []
        self.last_duration = 0
        try:
            self.container = av.open(ffmpeg_name(self.part), "w", format="matroska")
            self.encoder = Encoder(add_video(self.container, plan), plan)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise OutputError(f"{self.part}: cannot be written ({reason(error)})") from error

    def write(self, frame: Frame) -> None:
        """Encode one frame. Raises OutputError when the encoder or the disk fails."""
        self.count += 1
        self.last_duration = frame.duration
        try:
            self.mux(self.encoder.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self.failed(error) from error

    def mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.order.append(packet.pts)
            self.container.mux_one(packet)

    def finish(self, bookmark: Bookmark | None = None) -> Segment:
        """Flush, make durable and record, with the place to resume reading from. Raises OutputError."""
        try:
            self.mux(self.encoder.flush())
            self.container.close()
            flush_to_disk(self.part)
            self.part.replace(self.path)
            if len(set(self.order)) != self.count:
                packets = len(set(self.order))
                raise OutputError(f"{self.path}: {self.plan.codec} made {packets} packets of {self.count} frames")
            content = self.path.stat().st_size, sha256(self.path)
            segment = Segment(self.index, tuple(self.order), self.last_duration, *content, bookmark)
            segment.save(self.folder)
        except (av.FFmpegError, OSError) as error:
            raise self.failed(error) from error
        return segment

    def failed(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self.part}: writing failed ({reason(error)}); finished segments are kept: make room and run the same "
            "command again"
        )

    def discard(self) -> None:
        """Close without a result."""
        try:
            with suppress(av.FFmpegError, OSError, ValueError):  # a half-written file need not close well
                self.container.close()
        finally:
            self.part.unlink(missing_ok=True)
