"""A video as a job: restored stretch by stretch, put together, checked; goes on where it was interrupted."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from image_core.files import sha256
from image_core.upscaler import Upscaler
from osediff_video.chain import Numbered, find_embeddings, prepare, upscaled
from osediff_video.encoding import Encoding
from osediff_video.finish import cut_of, write_result
from osediff_video.job import Job, Manifest, identity
from osediff_video.media.encoder import EncoderPlan
from osediff_video.media.segment import Segment, SegmentWriter
from osediff_video.media.stdin import PIPE
from osediff_video.media.stdout import write_pipe
from osediff_video.media.verify import Verification, verify
from osediff_video.options import VideoOptions
from osediff_video.plan import DEFAULTS, VideoPlan, plan_video
from osediff_video.types import Faults, Frame


@dataclass(frozen=True)
class Progress:
    """State of a running job, passed to `progress` after every frame.

    frames: frames finished so far, with those of earlier runs.
    total: estimated number of frames; None when the container does not say.
    elapsed_s: seconds since this run began.
    resumed: frames finished by earlier runs.
    """

    frames: int
    total: int | None
    elapsed_s: float
    resumed: int = 0

    @property
    def fps(self) -> float:
        """Return the frames per second of this run."""
        return (self.frames - self.resumed) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def eta_s(self) -> float | None:
        """Return the estimated seconds to the end, or None when the total is unknown."""
        if self.total is None or not self.fps:
            return None
        return max(0, self.total - self.frames) / self.fps


@dataclass(frozen=True)
class Result:
    """Outcome of a finished job.

    target: path of the result.
    frames: frames in the result.
    resumed: frames of it that earlier runs had finished.
    elapsed_s: seconds that this run took.
    notes: sentences about what differs from the source.
    faults: damage in the source that was survived.
    verification: comparison of the written timestamps with the source's; None for a folder of frames or a GIF.
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
        """Return whether the source was read to its end."""
        return self.faults.cut_short is None


def upscale_video(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    options: VideoOptions = DEFAULTS,
    *,
    restart: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    planned: Callable[[VideoPlan], None] = lambda _: None,
) -> Result:
    """Upscale the video or folder of frames `source` and write `target`, a video or (no suffix) a folder of frames.

    The target appears whole or not at all; see `check_target` for what may be in its place. Interrupted at any moment,
    the same call goes on from the last finished segment and gives the same result. planned: told what will be done
    before it is. Raises MediaError, OutputError or OutOfMemoryError.
    """
    plan = plan_video(source, target, upscaler.options.scale, encoding, options, overwrite=overwrite)
    planned(plan)
    return carry_out(plan, upscaler, restart=restart, progress=progress)


def carry_out(
    plan: VideoPlan,
    upscaler: Upscaler,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Do what is planned. As `upscale_video`."""
    steadiness = prepare(plan.options, upscaler)
    manifest = Manifest(identity(plan.path), settings(plan, upscaler))
    if plan.is_piped:
        embeddings = find_embeddings(plan, upscaler, steadiness, manifest, None)
        return pipe_through(plan, upscaled(plan, upscaler, steadiness, embeddings, 0), progress)
    started = time.monotonic()
    with Job(plan.target, manifest, restart=restart or plan.path == PIPE) as job:
        segments = job.segments
        resumed = count(segments)

        def written(frames: int) -> None:
            total = plan.info.frame_count_estimate
            progress(Progress(resumed + frames, total, time.monotonic() - started, resumed))

        embeddings = find_embeddings(plan, upscaler, steadiness, manifest, job.folder)
        with closing(upscaled(plan, upscaler, steadiness, embeddings, resumed)) as results:
            for segment in write_segments(results, job, plan.encoder, written):
                segments.append(segment)
        cut = cut_of(plan, segments)
        notes = write_result(plan, job.folder, segments, cut)
        job.remove()
    check = None
    if plan.is_video:
        shift = cut.shift(plan.info.time_base)
        times = sorted(pts - shift for segment in segments for pts in segment.order)
        check = verify(plan.path, plan.info.time_base, plan.target, times, plan.streams, cut)
    elapsed_s = time.monotonic() - started
    return Result(plan.target, count(segments), resumed, elapsed_s, (*plan.notes, *notes), plan.source.faults, check)


def pipe_through(
    plan: VideoPlan, results: Generator[Numbered, None, None], progress: Callable[[Progress], None]
) -> Result:
    """Straight to standard output: nothing to resume, nothing to verify."""
    started = time.monotonic()

    def told(frames: Iterable[Numbered]) -> Iterator[Frame]:
        for done, (_, frame) in enumerate(frames, 1):
            yield replace(frame, pts=done - 1, duration=1) if plan.options.pipe_format == "y4m" else frame
            progress(Progress(done, plan.info.frame_count_estimate, time.monotonic() - started))

    with closing(results):
        frames = write_pipe(told(results), plan.encoder, plan.options.pipe_format)
    return Result(plan.target, frames, 0, time.monotonic() - started, plan.notes, plan.source.faults, None)


def count(segments: list[Segment]) -> int:
    return sum(len(segment.order) for segment in segments)


def settings(plan: VideoPlan, upscaler: Upscaler) -> dict[str, Any]:
    """Everything but the input that decides the result, in JSON's types."""
    images, video, encoder = (asdict(part) for part in (upscaler.options, plan.options, plan.encoder))
    # how much goes at once, and what is reported, changes no frame
    without = {"batch", "strict", "allow_damaged", "notes"}
    values = {**images, **video, **encoder, "model": upscaler.identity, "segment_frames": plan.segment_frames}
    for name in ("cuts", "flow", "shots"):  # what a file says counts, not its name
        if values[name] and Path(values[name]).is_file():
            values[name] = sha256(Path(values[name]))
    return json.loads(json.dumps({k: v for k, v in values.items() if k not in without}, default=str))


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
