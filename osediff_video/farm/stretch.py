"""Make some of the segments of a job that was planned before, while other processes make others."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from image_core.device.memory import Workload
from image_core.upscaler import Upscaler
from osediff_video.chain import find_embeddings, prepare
from osediff_video.encoding import Encoding
from osediff_video.finish import count
from osediff_video.job.folder import Job
from osediff_video.job.manifest import manifest_of
from osediff_video.options import VideoOptions
from osediff_video.plan import DEFAULTS, VideoPlan, plan_video
from osediff_video.run import Progress, engaged, make_segments
from osediff_video.suffixes import split_pattern


@dataclass(frozen=True)
class Stretch:
    """Report the segments that were made. frames: in them. resumed: of those, by earlier runs."""

    folder: Path
    segments: range
    frames: int
    resumed: int
    elapsed_s: float


def make_stretch(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    options: VideoOptions = DEFAULTS,
    *,
    segments: range,
    mixed: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    planned: Callable[[VideoPlan], None] = lambda _: None,
) -> Stretch:
    """Make those of `segments` that are missing. The job must have been planned by `plan_job` with the same settings.

    mixed: what computes may differ from what planned it, and bits with it. Raises as `upscale_video`.
    """
    target, names = split_pattern(target)
    encoding = replace(encoding, frames=names or encoding.frames)
    plan = plan_video(source, target, upscaler.options.scale, encoding, options, overwrite=overwrite, room=False)
    planned(plan)
    return make_planned(plan, upscaler, segments, mixed=mixed, progress=progress)


def make_planned(
    plan: VideoPlan,
    upscaler: Upscaler,
    segments: range,
    *,
    mixed: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Stretch:
    """Make segments as `make_stretch` does. Raises as `upscale_video`."""
    started = time.monotonic()
    with (
        Job(plan.target, plan.sources, manifest_of(plan, upscaler), stretch=segments, mixed=mixed) as job,
        engaged(upscaler, plan, job),
    ):
        assert job.survey is not None
        upscaler.use_workload(plan.height, plan.width, Workload(**job.manifest.computation["workload"]))
        total, resumed = sum(map(job.survey.length, segments)), count(job.segments)

        def report(frames: int) -> None:
            progress(Progress(count(job.segments) + frames, total, time.monotonic() - started, resumed))

        steadiness = prepare(plan.options, upscaler, job.survey)
        embeddings = find_embeddings(plan, upscaler, steadiness, job)
        make_segments(plan, upscaler, steadiness, embeddings, job, report)
        job.check_sources()
        return Stretch(job.folder, segments, count(job.segments), resumed, time.monotonic() - started)
