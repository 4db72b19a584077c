"""Turn finished segments into the result, check it, and let it appear by one rename."""

from fractions import Fraction
from pathlib import Path

from image_core.errors import OutputError
from osediff_video.media.cut import Cut
from osediff_video.media.gif_tags import gif_tags
from osediff_video.media.payload import Payloads
from osediff_video.media.verify import Verification, verify
from osediff_video.media.writing.assemble import Assembled, Assembly, assemble
from osediff_video.media.writing.export import export_folder, export_gif
from osediff_video.media.writing.segment import Segment
from osediff_video.plan import VideoPlan
from osediff_video.target import put_in_place


def cut_of(plan: VideoPlan, segments: list[Segment]) -> Cut:
    """Return the part of the source that the segments cover: it begins with the first selected frame."""
    options, info = plan.options, plan.info
    end_s = None if options.end_s is None else options.end_s + info.begins_s
    if options.start_s is None:
        return Cut(None, end_s)
    return Cut(min(segments[0].order) * Fraction(info.time_base), end_s)


def assemble_result(plan: VideoPlan, folder: Path, segments: list[Segment], cut: Cut) -> tuple[Path, Assembled | None]:
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
        jumps=tuple(plan.source.jumps),
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
