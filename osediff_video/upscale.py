"""The chain in one readable function: decode, model and encode overlap, and memory does not depend on length."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from image_core.upscale import Upscaler
from osediff_video.encoding import Encoding
from osediff_video.job import Job, Manifest, identity
from osediff_video.media.encoder import EncoderPlan
from osediff_video.media.pipe import write_pipe
from osediff_video.media.replay import PIPE
from osediff_video.media.segment import Segment, SegmentWriter
from osediff_video.media.verify import Verification, verify
from osediff_video.options import FilmOptions
from osediff_video.overlap import StageHangsError, ahead
from osediff_video.plan import FilmPlan, plan_film
from osediff_video.result import cut_of, write_result
from osediff_video.types import Faults, Frame

QUEUE_BYTES, MOST_QUEUED = 256 << 20, 8
DECODER_PATIENCE_S = 120.0
DEFAULTS = FilmOptions()
Numbered = tuple[int, Frame]
"""A frame and the number of its segment."""


@dataclass(frozen=True)
class Progress:
    """frames: finished so far, of `total` (an estimate, None when the container does not say); resumed: before us."""

    frames: int
    total: int | None
    elapsed_s: float
    resumed: int = 0

    @property
    def fps(self) -> float:
        return (self.frames - self.resumed) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def eta_s(self) -> float | None:
        if self.total is None or not self.fps:
            return None
        return max(0, self.total - self.frames) / self.fps


@dataclass(frozen=True)
class Result:
    """What came out. frames: in the result; resumed: of them, from earlier runs. notes: what differs from the source.

    verification is None for a folder of frames or a GIF. complete: the source was read to its end.
    """

    target: Path
    frames: int
    resumed: int
    elapsed_s: float
    notes: tuple[str, ...]
    faults: Faults
    verification: Verification | None

    @property
    def complete(self) -> bool:
        return self.faults.cut_short is None


def upscale_video(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    options: FilmOptions = DEFAULTS,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    planned: Callable[[FilmPlan], None] = lambda _: None,
) -> Result:
    """Upscale the film or folder of frames `source` and write `target`, a film or (no suffix) a folder of frames.

    The target appears whole or not at all; see `check_target` for what may be in its place. Interrupted at any moment,
    the same call goes on from the last finished segment and gives the same result. planned: told what will be done
    before it is. Raises MediaError, OutputError or OutOfMemoryError.
    """
    plan = plan_film(source, target, upscaler.options.scale, encoding, options)
    planned(plan)
    return carry_out(plan, upscaler, restart=restart, progress=progress)


def carry_out(
    plan: FilmPlan,
    upscaler: Upscaler,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Do what is planned. As `upscale_video`."""
    if plan.is_piped:
        return pipe_through(plan, upscaler, progress)
    started = time.monotonic()
    manifest = Manifest(identity(plan.path), settings(plan, upscaler))
    with Job(plan.target, manifest, restart=restart or plan.path == PIPE) as job:
        segments = job.segments
        resumed = count(segments)

        def written(frames: int) -> None:
            total = plan.info.frame_count_estimate
            progress(Progress(resumed + frames, total, time.monotonic() - started, resumed))

        with closing(restored(plan, upscaler, len(segments), resumed)) as results:
            for segment in write_segments(results, job, plan.encoder, written):
                segments.append(segment)
        cut = cut_of(plan, segments)
        notes = write_result(plan, job.folder, segments, cut)
        job.remove()
    check = None
    if plan.is_film:
        shift = round(cut.shift_s / plan.info.time_base)
        times = sorted(pts - shift for segment in segments for pts in segment.order)
        check = verify(plan.path, plan.info.time_base, plan.target, times, plan.streams, cut)
    elapsed_s = time.monotonic() - started
    return Result(plan.target, count(segments), resumed, elapsed_s, (*plan.notes, *notes), plan.source.faults, check)


def pipe_through(plan: FilmPlan, upscaler: Upscaler, progress: Callable[[Progress], None]) -> Result:
    """Straight to standard output: nothing to resume, nothing to verify."""
    started = time.monotonic()

    def told(frames: Iterable[Numbered]) -> Iterator[Frame]:
        for done, (_, frame) in enumerate(frames, 1):
            yield replace(frame, pts=done - 1, duration=1) if plan.options.pipe_format == "y4m" else frame
            progress(Progress(done, plan.info.frame_count_estimate, time.monotonic() - started))

    with closing(restored(plan, upscaler, 0, 0)) as results:
        frames = write_pipe(told(results), plan.encoder, plan.options.pipe_format)
    return Result(plan.target, frames, 0, time.monotonic() - started, plan.notes, plan.source.faults, None)


def count(segments: list[Segment]) -> int:
    return sum(len(segment.order) for segment in segments)


def settings(plan: FilmPlan, upscaler: Upscaler) -> dict[str, Any]:
    """Everything but the input that decides the result, in JSON's types."""
    pictures, film, encoder = (asdict(part) for part in (upscaler.options, plan.options, plan.encoder))
    # how much goes at once, and what is reported, changes no frame
    without = {"batch", "strict", "allow_damaged", "notes"}
    values = {**pictures, **film, **encoder, "model": upscaler.identity, "segment_frames": plan.segment_frames}
    return json.loads(json.dumps({k: v for k, v in values.items() if k not in without}, default=str))


def restored(plan: FilmPlan, upscaler: Upscaler, first_segment: int, skip: int) -> Generator[Numbered, None, None]:
    """Frames after the first `skip`, upscaled, with the number of the segment each belongs to."""

    def watch() -> None:
        silence = time.monotonic() - plan.source.last_sign
        if silence > DECODER_PATIENCE_S:
            raise StageHangsError(f"{plan.info.path}: the decoder has been silent for {silence:.0f} s and was given up")

    picture_bytes = plan.height * plan.width * 3 * (2 if plan.info.bit_depth > 8 else 1)
    depth = max(1, min(MOST_QUEUED, QUEUE_BYTES // picture_bytes))
    decoded = ahead(plan.source.frames(skip), MOST_QUEUED, watch)
    numbered = number(decoded, first_segment, plan.segment_frames)
    return ahead(upscale_frames(numbered, upscaler, plan.height, plan.width), depth)


def number(frames: Iterable[Frame], first: int, length: int) -> Iterator[Numbered]:
    """Count segments of `length` frames, from segment `first` on."""
    for position, frame in enumerate(frames):
        yield first + position // length, frame


def upscale_frames(frames: Iterable[Numbered], upscaler: Upscaler, height: int, width: int) -> Iterator[Numbered]:
    """The same frames, larger and better, in order, computed in batches that never span two segments."""
    for segment, batch in batches(frames, upscaler):
        pictures = upscaler([frame.image for frame in batch], (height, width))
        for frame, picture in zip(batch, pictures, strict=True):
            alpha = frame.alpha
            if alpha is not None:
                alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC)
            yield segment, replace(frame, image=picture, alpha=alpha)


def batches(frames: Iterable[Numbered], upscaler: Upscaler) -> Iterator[tuple[int, list[Frame]]]:
    """Group frames of one segment as the upscaler's load allows, which is known after the first."""
    held: list[Frame] = []
    current = 0
    for segment, frame in frames:
        if held and (segment != current or len(held) >= (upscaler.load.batch if upscaler.load else 1)):
            yield current, held
            held = []
        current = segment
        held.append(frame)
    if held:
        yield current, held


def write_segments(
    results: Iterable[Numbered], job: Job, plan: EncoderPlan, written: Callable[[int], None]
) -> Iterator[Segment]:
    """Encode frames into segments; each is yielded when it is safely on the disk. written: told the frames so far."""
    writer: SegmentWriter | None = None
    try:
        for done, (segment, frame) in enumerate(results, 1):
            if writer is None:
                job.begin()
            elif writer.index != segment:
                yield writer.finish()
                writer = None
            writer = writer or SegmentWriter(job.folder, segment, plan)
            writer.write(frame)
            written(done)
        if writer is not None:
            last, writer = writer, None
            yield last.finish()
    finally:
        if writer is not None:
            writer.discard()
