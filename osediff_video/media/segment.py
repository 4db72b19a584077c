"""One stretch of the video, encoded into a file of its own: what survives when the job is interrupted."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import av

from image_core.errors import OutputError
from image_core.files import write_whole
from osediff_video.media.container import reason
from osediff_video.media.encoder import Encoder, EncoderPlan, add_video
from osediff_video.types import Frame


@dataclass(frozen=True)
class Segment:
    """A finished stretch. order: presentation times of its packets in the order of the file, in the video's time base.

    The file's own times are Matroska's, rounded to milliseconds; these are exact. last_duration: of the last frame.
    """

    index: int
    order: tuple[int, ...]
    last_duration: int

    @property
    def delay(self) -> int:
        """How many packets the encoder runs ahead of presentation."""
        rank = {pts: number for number, pts in enumerate(sorted(self.order))}
        return max(number - rank[pts] for number, pts in enumerate(self.order))

    def save(self, folder: Path) -> None:
        write_whole(folder / f"{self.index:05d}.json", json.dumps(asdict(self)))


def load_segments(folder: Path) -> list[Segment]:
    """The finished segments from the first on, without a gap."""
    found: list[Segment] = []
    while True:
        path = folder / f"{len(found):05d}.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return found
        if not path.with_suffix(".mkv").exists():
            return found
        found.append(Segment(**{**values, "order": tuple(values["order"])}))


class SegmentWriter:
    """Encodes frames into `folder`/INDEX.mkv; the segment counts once `finish` has written INDEX.json beside it."""

    def __init__(self, folder: Path, index: int, plan: EncoderPlan) -> None:
        self.folder, self.index, self.plan = folder, index, plan
        self.path = folder / f"{index:05d}.mkv"
        self.part = self.path.with_name(self.path.name + ".part")
        self.count = 0
        self.order: list[int] = []
        self.last_duration = 0
        try:
            self.container = av.open(str(self.part), "w", format="matroska")
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

    def finish(self) -> Segment:
        """Flush, make durable and record. Raises OutputError."""
        try:
            self.mux(self.encoder.flush())
            self.container.close()
            with self.part.open("rb") as file:
                os.fsync(file.fileno())
            self.part.replace(self.path)
            if len(set(self.order)) != self.count:
                made = len(set(self.order))
                raise OutputError(f"{self.path}: {self.plan.codec} made {made} packets of {self.count} frames")
            segment = Segment(self.index, tuple(self.order), self.last_duration)
            segment.save(self.folder)
        except (av.FFmpegError, OSError) as error:
            raise self.failed(error) from error
        return segment

    def failed(self, error: Exception) -> OutputError:
        return OutputError(
            f"{self.part}: writing failed ({reason(error)}); what is finished is kept: make room and run the same "
            "command again"
        )

    def discard(self) -> None:
        """Close without a result."""
        try:
            with suppress(av.FFmpegError, OSError, ValueError):  # a half-written file need not close well
                self.container.close()
        finally:
            self.part.unlink(missing_ok=True)
