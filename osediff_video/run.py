"""Run a video as a job: upscale it segment by segment, assemble, verify, and resume where it was interrupted."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path

from image_core.device.memory import Workload
from image_core.errors import OutputError
from image_core.upscaler import Upscaler
from osediff_video.chain import Numbered, Steadiness, find_embeddings, prepare, upscaled
from osediff_video.encoding import Encoding
from osediff_video.finish import count, finish_job
from osediff_video.job.finished import Finished, plan_run
from osediff_video.job.folder import Job
from osediff_video.job.manifest import manifest_of
from osediff_video.media.reading.stdin import PIPE
from osediff_video.media.verify import Verification
from osediff_video.media.writing.segment import SegmentWriter
from osediff_video.media.writing.stdout import write_pipe
from osediff_video.options import VideoOptions
from osediff_video.plan import DEFAULTS, VideoPlan
from osediff_video.shots.in_time import InTime, LiveWork
from osediff_video.shots.prompts import ShotEmbeddings
from osediff_video.sources.bookmarks import Bookmarks
from osediff_video.types import Faults, Frame

MOST_ATTEMPTS = 3
"""How often segments are made before a disk that gives back something else is given up."""


@dataclass(frozen=True)
class Progress:
    """Describe the state of a running job, passed to `progress` after every frame.

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
    """Report the outcome of a finished job.

    target: path of the result.
    frames: frames in the result.
    resumed: frames of it that earlier runs had finished.
    elapsed_s: seconds that this run took.
    notes: sentences about what differs from the source.
    faults: damage in the source that was survived.
    verification: comparison of the written timestamps with the source's; None for a folder of frames or a GIF.
    already_finished: an earlier run made this result, so that nothing was done.
    in_time: how a live video was kept up with; None without `realtime`.
    """

    target: Path
    frames: int
    resumed: int
    elapsed_s: float
    notes: tuple[str, ...]
    faults: Faults
    verification: Verification | None
    already_finished: bool = False
    in_time: InTime | None = None

    @property
    def complete(self) -> bool:
        """Return whether the source was read to its end."""
        return self.faults.is_complete


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

    A target such as out/%06d.tif names the frames in the folder.

    The target appears whole or not at all; see `check_target` for what may be in its place. Interrupted at any moment,
    the same call goes on from the last finished segment and gives the same result; a result of the same call that is
    finished already is left as it is. planned: told what will be done
    before it is. Raises MediaError, OutputError or OutOfMemoryError.
    """
    scale = upscaler.options.scale
    plan, finished = plan_run(source, target, scale, encoding, options, restart=restart, overwrite=overwrite)
    return upscale_planned(plan, upscaler, finished, restart=restart, progress=progress, planned=planned)


def upscale_planned(
    plan: VideoPlan,
    upscaler: Upscaler,
    finished: Finished | None = None,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    planned: Callable[[VideoPlan], None] = lambda _: None,
) -> Result:
    """Execute what `plan_run` returned; the rest as `upscale_video`."""
    target = plan.target
    if finished is not None:
        if not finished.is_of(plan, manifest_of(plan, upscaler)):
            raise OutputError(
                f"{target}: already exists, made of another source or with other settings; add --overwrite to replace "
                "it"
            )
        frames = finished.frames
        return Result(target, frames, frames, 0.0, (), Faults(), None, already_finished=True)
    planned(plan)
    return carry_out(plan, upscaler, restart=restart, progress=progress)


def carry_out(
    plan: VideoPlan,
    upscaler: Upscaler,
    *,
    restart: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Execute a plan. Raises as `upscale_video`."""
    if plan.is_piped:
        with upscaler.workers.engaged(upscaler.crew_for(plan.height, plan.width)):
            return pipe_through(plan, upscaler, progress)
    return run_job(plan, upscaler, restart, progress)


def run_job(plan: VideoPlan, upscaler: Upscaler, restart: bool, progress: Callable[[Progress], None]) -> Result:
    """Make the segments that are missing, and the result of them. Raises as `upscale_video`."""
    started = time.monotonic()
    manifest = manifest_of(plan, upscaler)
    with (
        Job(plan.target, plan.sources, manifest, restart=restart or plan.path == PIPE) as job,
        engaged(upscaler, plan, job),
    ):
        workload = Workload(**job.manifest.computation["workload"])
        upscaler.use_workload(plan.height, plan.width, workload)  # that of the first run, whatever is free now
        resumed = count(job.segments)
        steadiness = prepare(plan.options, upscaler, job.survey)

        def report(frames: int) -> None:
            done, total = (
                count(job.segments) + frames,
                job.survey.frames if job.survey else plan.info.frame_count_estimate,
            )
            progress(Progress(done, total, time.monotonic() - started, resumed))

        embeddings = find_embeddings(plan, upscaler, steadiness, job)
        make_segments(plan, upscaler, steadiness, embeddings, job, report)
        check, notes, faults = finish_job(plan, job)
    elapsed_s = time.monotonic() - started
    return Result(plan.target, count(job.segments), resumed, elapsed_s, (*plan.notes, *notes), faults, check)


def engaged(upscaler: Upscaler, plan: VideoPlan, job: Job) -> AbstractContextManager[None]:
    """Let workers compute in as many threads as the job began with, since their number decides how sums are rounded."""
    crew = upscaler.crew_for(plan.height, plan.width, job.manifest.computation["threads"])
    return upscaler.workers.engaged(crew)


def make_segments(
    plan: VideoPlan,
    upscaler: Upscaler,
    steadiness: Steadiness,
    embeddings: ShotEmbeddings | None,
    job: Job,
    report: Callable[[int], None],
) -> None:
    """Encode the segments that the job lacks, again where the disk does not return what was written.

    report: called with the number of frames encoded after those of finished segments. Raises OutputError where that
    is so time and again.
    """
    length, survey = plan.segment_frames, job.survey
    for _ in range(MOST_ATTEMPTS):
        for first, after in job.gaps():
            begin, end = first * length, None if after is None else after * length
            if survey is None:
                begin, bookmark = count(job.segments), job.segments[-1].bookmark if job.segments else None
            else:
                bookmark = survey.bookmarks[first]
            bookmarks = Bookmarks(length, steadiness.lead_frames, bookmark)
            with closing(upscaled(plan, upscaler, steadiness, embeddings, begin, bookmarks, end)) as results:
                write_segments(results, job, plan, bookmarks, report)
        damaged = job.drop_damaged()
        if damaged is None:
            return
        upscaler.report(f"segment {damaged} does not match its hash: it is encoded again")
    raise OutputError(f"{job.folder}: finished segments are damaged each time they are read; check the disk")


def pipe_through(plan: VideoPlan, upscaler: Upscaler, progress: Callable[[Progress], None]) -> Result:
    """Write straight to standard output: nothing to resume, nothing to verify."""
    steadiness = prepare(plan.options, upscaler)
    embeddings, live = find_embeddings(plan, upscaler, steadiness, None), None
    if plan.options.realtime:
        info, size = plan.info, (plan.height, plan.width)
        shape, latency_s = (info.height, info.width, 3), plan.options.latency_s
        live = LiveWork(steadiness.treatments, size, shape, info.frame_rate, latency_s)
    started = time.monotonic()
    results = upscaled(plan, upscaler, steadiness, embeddings, 0, live=live)

    def reported(frames: Iterable[Numbered]) -> Iterator[Frame]:
        for done, (_, frame) in enumerate(frames, 1):
            yield replace(frame, pts=done - 1, duration=1) if plan.options.pipe_format == "y4m" else frame
            if live is not None:
                live.clock.written(done - 1)
            progress(Progress(done, plan.info.frame_count_estimate, time.monotonic() - started))

    with closing(results):
        frames = write_pipe(reported(results), plan.encoder, plan.options.pipe_format)
    elapsed_s, in_time = time.monotonic() - started, live.report() if live else None
    return Result(plan.target, frames, 0, elapsed_s, plan.notes, plan.source.faults, None, in_time=in_time)


def write_segments(
    results: Iterable[Numbered], job: Job, plan: VideoPlan, bookmarks: Bookmarks, report: Callable[[int], None]
) -> None:
    """Encode frames into segments, each of which joins the job when it is safely on the disk.

    report: called with the number of frames encoded after those of finished segments.
    """
    writer: SegmentWriter | None = None

    def finish(writer: SegmentWriter) -> None:
        job.begin()
        job.add(writer.finish(bookmarks.take((writer.index + 1) * plan.segment_frames)))

    try:
        for index, frame in results:
            if writer is not None and writer.index != index:
                finish(writer)
                writer = None
            writer = writer or SegmentWriter(job.folder, index, plan.encoder)
            writer.write(frame)
            report(writer.count)
        if writer is not None:
            finish(writer)
            writer = None
    finally:
        if writer is not None:
            writer.discard()
