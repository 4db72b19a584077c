"""Put the segments that several processes made together to the result."""

import time
from pathlib import Path

from image_core.errors import OutputError
from osediff_video.finish import count, finish_job
from osediff_video.job.folder import Job, job_folder
from osediff_video.job.survey import read_survey
from osediff_video.plan import plan_video
from osediff_video.run import Result
from osediff_video.suffixes import split_pattern


def assemble_job(target: Path, *, source: Path | None = None, overwrite: bool = False) -> Result:
    """Put a planned job's segments together to `target`; it must have all of them.

    source: where the source lies here, if not where it was when the job was planned. Raises MediaError or OutputError.
    """
    started = time.monotonic()
    target, _ = split_pattern(target)
    survey = read_survey(job_folder(target))
    if survey is None:
        raise OutputError(
            f"{job_folder(target)}: holds no planned job; run osediff-video plan, and upscale with --segments, first"
        )
    order = survey.order
    plan = plan_video(source or order.source, target, order.scale, order.encoding, order.options, overwrite=overwrite)
    with Job(plan.target, plan.sources, None) as job:
        assert job.survey is not None
        check_all_there(job.folder, job.gaps(), job.survey.count)
        resumed = count(job.segments)
        check, notes, faults = finish_job(plan, job)
    elapsed_s = time.monotonic() - started
    return Result(plan.target, resumed, resumed, elapsed_s, (*plan.notes, *notes), faults, check)


def check_all_there(folder: Path, gaps: list[tuple[int, int | None]], total: int) -> None:
    """Raise OutputError that names the segments that are missing or not as they were written."""
    if gaps:
        names = ", ".join(
            str(first) if after == first + 1 else f"{first}-{after - 1}" for first, after in gaps if after
        )
        raise OutputError(
            f"{folder}: of {total} segments these are missing or damaged: {names}; make them with upscale --segments"
        )
