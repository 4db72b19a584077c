"""Read a video once and record what each of its segments needs to be made anywhere, to the same bits."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from image_core.color import ColorStats
from image_core.errors import OutputError
from image_core.upscaler import Upscaler
from osediff_video.chain import Steadiness, find_embeddings, prepare, watch, with_cuts, with_extended_colors
from osediff_video.encoding import Encoding
from osediff_video.job.folder import Job
from osediff_video.job.manifest import manifest_of
from osediff_video.job.order import Order
from osediff_video.job.survey import Survey, tones_of, write_survey
from osediff_video.media.reading.stdin import PIPE
from osediff_video.options import VideoOptions
from osediff_video.plan import DEFAULTS, VideoPlan, plan_video
from osediff_video.run import engaged
from osediff_video.sources.bookmarks import Bookmarks
from osediff_video.stages.prefetch import ahead
from osediff_video.stages.queues import depth, step_bytes
from osediff_video.suffixes import split_pattern
from osediff_video.temporal.blend import WARMUP_FRAMES
from osediff_video.temporal.steady_colors import steady_colors
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame


def survey_video(plan: VideoPlan, steadiness: Steadiness, order: Order) -> Survey:
    """Read the video once, without the model, for what its segments need. Raises as reading does."""
    treatments, length = steadiness.treatments, plan.segment_frames
    warmup = WARMUP_FRAMES if steadiness.blend else 0
    bookmarks = Bookmarks(length, warmup)
    cuts: list[int] = []
    tones: list[ColorStats | None] = []

    def noted(frames: Iterable[Frame]) -> Iterator[Frame]:
        for position, frame in enumerate(frames):
            if frame.cut:
                cuts.append(position)
            yield frame

    placed = with_extended_colors(bookmarks.placed(plan.source, 0, None))
    frames = ahead(placed, max(1, depth(step_bytes(plan, False).frame)), lambda: watch(plan))
    marked = treatments.marked(noted(with_cuts(frames, plan, steadiness, 0)), plan.info)
    known: Iterable[Step] = steps(marked, 0, None)
    for step in steady_colors(known) if steadiness.blend and treatments.fix_by_statistics else known:
        tones.append(step.tone)
    starts = range(0, len(tones), length)
    marks = tuple(bookmarks.take(first) for first in starts)
    faults, jumps = plan.source.faults, tuple(plan.source.jumps)
    return Survey(order, len(tones), length, marks, tuple(cuts), tones_of(tones), faults, jumps)


@dataclass(frozen=True)
class Planned:
    """Describe a job whose segments can be made anywhere. segments: how many. finished: of them, by earlier runs."""

    target: Path
    folder: Path
    frames: int
    segments: int
    finished: int


def plan_job(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    options: VideoOptions = DEFAULTS,
    *,
    restart: bool = False,
    overwrite: bool = False,
    room: bool = True,
    planned: Callable[[VideoPlan], None] = lambda _: None,
) -> Planned:
    """Plan the upscaling of `source` to `target` and record it in the job's folder, with what reading once finds.

    Raises as `upscale_video`.
    """
    target, names = split_pattern(target)
    encoding = replace(encoding, frames=names or encoding.frames)
    plan = plan_video(source, target, upscaler.options.scale, encoding, options, overwrite=overwrite, room=room)
    if PIPE in (plan.path, plan.target):
        raise OutputError("segments made by several processes need a file as input and as output, not a pipe")
    planned(plan)
    with (
        Job(plan.target, plan.sources, manifest_of(plan, upscaler), restart=restart) as job,
        engaged(upscaler, plan, job),
    ):
        survey = survey_job(plan, upscaler, Order(source.absolute(), upscaler.options.scale, encoding, options), job)
        return Planned(plan.target, job.folder, survey.frames, survey.count, len(job.segments))


def survey_job(plan: VideoPlan, upscaler: Upscaler, order: Order, job: Job) -> Survey:
    """Return what reading the video once finds; it is read where nobody has done so. Raises as reading does."""
    if job.survey is None:
        steadiness = prepare(plan.options, upscaler)
        find_embeddings(plan, upscaler, steadiness, job)
        survey = survey_video(plan, steadiness, order)
        job.begin()
        write_survey(job.folder, survey)
        job.survey = survey
    return job.survey
