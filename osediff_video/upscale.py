"""The chain in one readable function: decode, model and encode overlap, and memory does not depend on length."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

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
from osediff_video.plan import DEFAULTS, FilmPlan, plan_film
from osediff_video.result import cut_of, write_result
from osediff_video.shots import SETTLED, mark_cuts, mark_listed_cuts, read_cut_list
from osediff_video.temporal import WARMUP_FRAMES, Blend, Step, steadied, steps
from osediff_video.types import Faults, Frame, Picture, Plane

QUEUE_BYTES, MOST_QUEUED = 256 << 20, 8
DECODER_PATIENCE_S = 120.0
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

        with closing(restored(plan, upscaler, resumed)) as results:
            for segment in write_segments(results, job, plan.encoder, written):
                segments.append(segment)
        cut = cut_of(plan, segments)
        notes = write_result(plan, job.folder, segments, cut)
        job.remove()
    check = None
    if plan.is_film:
        shift = cut.shift(plan.info.time_base)
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

    with closing(restored(plan, upscaler, 0)) as results:
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


def restored(plan: FilmPlan, upscaler: Upscaler, skip: int) -> Generator[Numbered, None, None]:
    """Frames after the first `skip`, upscaled and steadied, with the number of the segment each belongs to."""
    options, length = plan.options, plan.segment_frames
    steady = options.temporal != "off"
    warmup = min(skip, WARMUP_FRAMES) if steady else 0
    lead = min(skip, WARMUP_FRAMES + SETTLED) if steady else 0  # frames before, to know cuts and motion

    def watch() -> None:
        silence = time.monotonic() - plan.source.last_sign
        if silence > DECODER_PATIENCE_S:
            raise StageHangsError(f"{plan.info.path}: the decoder has been silent for {silence:.0f} s and was given up")

    picture_bytes = plan.height * plan.width * 3 * (2 if plan.info.bit_depth > 8 else 1)
    depth = max(1, min(MOST_QUEUED, QUEUE_BYTES // picture_bytes))
    decoded = ahead(plan.source.frames(skip - lead), MOST_QUEUED, watch)
    related = steps(with_cuts(decoded, plan) if steady else decoded, skip - lead, with_motion=steady)
    wanted = (step for step in ahead(related, MOST_QUEUED, watch) if step.position >= skip - warmup)
    results = ahead(upscale_steps(wanted, upscaler, plan.height, plan.width, length), depth)
    if steady:
        blend = Blend.of(options.strength, upscaler.generative)
        results = ahead(steadied(results, blend, length), 1)
    for step in results:
        if step.position >= skip:
            yield step.position // length, finished(step, plan.height, plan.width)


def with_cuts(frames: Iterable[Frame], plan: FilmPlan) -> Iterator[Frame]:
    """Mark where shots begin, as the user asked."""
    cuts = plan.options.cuts
    if cuts == "off":
        return iter(frames)
    if cuts == "auto":
        return mark_cuts(frames)
    return mark_listed_cuts(frames, read_cut_list(Path(cuts)), plan.info.time_base)


def upscale_steps(
    related: Iterable[Step], upscaler: Upscaler, height: int, width: int, segment_frames: int
) -> Iterator[Step]:
    """Put the model's picture into every step, in order; a frame that equals the one before is not computed again."""
    last: Picture | None = None
    for batch in batches(related, upscaler, segment_frames):
        fresh = [not step.same or (last is None and number == 0) for number, step in enumerate(batch)]
        images = [step.frame.image for step, is_fresh in zip(batch, fresh, strict=True) if is_fresh]
        pictures = iter(upscaler(images, (height, width)))
        for step, is_fresh in zip(batch, fresh, strict=True):
            last = next(pictures) if is_fresh else last
            yield replace(step, output=last)


def batches(related: Iterable[Step], upscaler: Upscaler, segment_frames: int) -> Iterator[list[Step]]:
    """Group steps as the upscaler's load allows, which is known after the first.

    The same frames meet in a batch wherever reading began: none spans the start of a segment or of its warm-up.
    """
    held: list[Step] = []
    for step in related:
        place = step.position % segment_frames
        full = len(held) >= (upscaler.load.batch if upscaler.load else 1)
        if held and (full or place in (0, segment_frames - WARMUP_FRAMES)):
            yield held
            held = []
        held.append(step)
    if held:
        yield held


def finished(step: Step, height: int, width: int) -> Frame:
    """The frame as it will be encoded; transparency grows with it."""
    assert step.output is not None
    alpha = step.frame.alpha
    if alpha is not None:
        alpha = cast(Plane, cv2.resize(alpha, (width, height), interpolation=cv2.INTER_CUBIC))
    return replace(step.frame, image=step.output, alpha=alpha)


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
