"""Turn finished segments into the result, check it, and let it appear by one rename."""

from fractions import Fraction
from pathlib import Path

from image_core.errors import OutputError
from osediff_video.job.finished import Finished, record_finished
from osediff_video.job.folder import Job
from osediff_video.media.cut import Cut
from osediff_video.media.gif_tags import gif_tags
from osediff_video.media.payload import Payloads
from osediff_video.media.verify import Verification, verify
from osediff_video.media.writing.assemble import Assembled, Assembly, assemble
from osediff_video.media.writing.export import export_folder, export_gif
from osediff_video.media.writing.segment import Segment
from osediff_video.plan import VideoPlan
from osediff_video.target import put_in_place
from osediff_video.types import Faults, Jump


def count(segments: list[Segment]) -> int:
    """Return the number of frames in segments."""
    return sum(len(segment.order) for segment in segments)


def finish_job(plan: VideoPlan, job: Job) -> tuple[Verification | None, list[str], Faults]:
    """Make the result of all segments of a job, which is removed; return how it compares, notes, and the faults.

    Raises OutputError or MediaError; the work stays.
    """
    faults, jumps = plan.source.faults, tuple(plan.source.jumps)
    if job.survey is not None:  # others may have read the source
        faults, jumps = job.survey.faults, job.survey.jumps
    job.check_sources()  # before its other streams are read, and once more when they are
    segments = job.segments
    cut = cut_of(plan, segments)
    part, assembled = assemble_result(plan, job.folder, segments, cut, jumps)
    check = verify_result(plan, part, assembled.payloads, segments, cut) if assembled else None
    job.check_sources()
    place(plan, part)
    if faults.is_complete and (check is None or check.ok):
        record_finished(plan.target, Finished(count(segments), job.identity.result(), job.manifest.fingerprint))
    job.remove()
    return check, assembled.notes if assembled else [], faults


def cut_of(plan: VideoPlan, segments: list[Segment]) -> Cut:
    """Return the part of the source that the segments cover: it begins with the first selected frame."""
    options, info = plan.options, plan.info
    end_s = None if options.end_s is None else options.end_s + info.begins_s
    if options.start_s is None:
        return Cut(None, end_s)
    return Cut(min(segments[0].order) * Fraction(info.time_base), end_s)


def assemble_result(
    plan: VideoPlan, folder: Path, segments: list[Segment], cut: Cut, jumps: tuple[Jump, ...]
) -> tuple[Path, Assembled | None]:
    """Put the segments in `folder` together there; return None for a folder of frames or a GIF, which are decoded.

    Raises OutputError or MediaError; the segments stay.
    """
    part = folder / f"result{plan.suffix}"
    if plan.suffix == ".gif":
        export_gif(folder, segments, plan.encoder, part, gif_tags(plan.path))
        return part, None
    if not plan.suffix:
        export_folder(folder, segments, plan.encoder, part)
        return part, None
    assembly = Assembly(
        segments=segments,
        folder=folder,
        time_base=plan.info.time_base,
        rate=plan.info.frame_rate,
        source=plan.path if plan.streams else None,
        streams=list(plan.streams),
        alpha=plan.encoder.alpha,
        cut=cut,
        display_matrix=plan.info.display_matrix if plan.options.keep_rotation else None,
        jumps=jumps,
        timecode=plan.info.timecode,
    )
    return part, assemble(assembly, part, plan.suffix)


def verify_result(plan: VideoPlan, part: Path, payloads: Payloads, segments: list[Segment], cut: Cut) -> Verification:
    """Compare the video `part` with what was encoded. Raises OutputError where its images differ."""
    shift = cut.shift(plan.info.time_base)
    times = sorted(pts - shift for segment in segments for pts in segment.order)
    check = verify(plan.path, plan.info.time_base, part, times, plan.streams, cut, payloads)
    if not check.same_images:
        raise OutputError(
            f"{part}: holds other images than were encoded; the disk or the memory of this machine may be faulty. All "
            "finished segments are kept: run the same command again"
        )
    return check


def place(plan: VideoPlan, part: Path) -> None:
    """Give the finished `part` the name of the target. Raises OutputError; the work stays."""
    try:
        put_in_place(part, plan.target, plan.overwrite, plan.encoder.frames)
    except OutputError as error:
        raise OutputError(f"{error}; the work is kept in {part.parent}") from error
