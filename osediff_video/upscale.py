"""The chain in one readable function: decode, model and encode overlap, and memory does not depend on length."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

from image_core.images import scaled_size
from image_core.upscale import Upscaler
from osediff_video.encoding import Encoding
from osediff_video.folder import FolderWriter, probe_folder, read_folder
from osediff_video.media.probe import probe
from osediff_video.media.reader import read_frames
from osediff_video.media.verify import Verification, verify
from osediff_video.media.writer import VideoWriter
from osediff_video.overlap import ahead
from osediff_video.types import Frame, VideoInfo

QUEUE_FRAMES = 8


@dataclass(frozen=True)
class Progress:
    """frames: written so far, of `total` (an estimate, None when the container does not say)."""

    frames: int
    total: int | None
    elapsed_s: float

    @property
    def fps(self) -> float:
        return self.frames / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def eta_s(self) -> float | None:
        if self.total is None or not self.frames:
            return None
        return max(0, self.total - self.frames) / self.fps


@dataclass(frozen=True)
class Result:
    """What came out. verification is None for a folder of frames, which has no clock."""

    target: Path
    frames: int
    elapsed_s: float
    notes: tuple[str, ...]
    verification: Verification | None


def upscale_video(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    *,
    fps: Fraction = Fraction(25),
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Upscale the film or folder of frames `source` and write `target`, a film or (no suffix) a folder of frames.

    fps: the clock of a frame folder. The target appears whole or not at all; see `check_target` for what may be in its
    place. Raises MediaError, OutputError or OutOfMemoryError.
    """
    info = probe_folder(source, fps) if source.is_dir() else probe(source)
    height, width = scaled_size(info.height, info.width, upscaler.options.scale)
    started, count, pts = time.monotonic(), 0, []
    with open_sink(source, target, info, width, height, encoding) as sink:
        frames = ahead(read_folder(info) if source.is_dir() else read_frames(info), QUEUE_FRAMES)
        with closing(ahead(upscale_frames(frames, upscaler), QUEUE_FRAMES)) as results:
            for frame in results:
                sink.write(frame)
                count += 1
                pts.append(frame.pts)
                progress(Progress(count, info.frame_count_estimate, time.monotonic() - started))
    verification = verify(info, target, pts) if isinstance(sink, VideoWriter) else None
    return Result(target, count, time.monotonic() - started, tuple(sink.notes), verification)


def open_sink(
    source: Path, target: Path, info: VideoInfo, width: int, height: int, encoding: Encoding
) -> VideoWriter | FolderWriter:
    if not target.suffix:
        return FolderWriter(target)
    return VideoWriter(target, info, width, height, encoding, audio_from=None if source.is_dir() else source)


def upscale_frames(frames: Iterable[Frame], upscaler: Upscaler) -> Iterator[Frame]:
    """The same frames, larger and better, in order, computed in batches."""
    for batch in batches(frames, upscaler):
        pictures = upscaler([frame.image for frame in batch])
        for frame, picture in zip(batch, pictures, strict=True):
            yield replace(frame, image=picture)


def batches(frames: Iterable[Frame], upscaler: Upscaler) -> Iterator[list[Frame]]:
    """Group frames as the upscaler's load allows, which is known after the first."""
    stream = iter(frames)
    while batch := list(islice(stream, upscaler.load.batch if upscaler.load else 1)):
        yield batch
