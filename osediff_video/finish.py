"""Finished segments become the result, which appears by one rename."""

from fractions import Fraction
from pathlib import Path

from image_core.errors import OutputError
from osediff_video.media.assemble import Assembly, assemble
from osediff_video.media.cut import Cut
from osediff_video.media.export import export_folder, export_gif
from osediff_video.media.segment import Segment
from osediff_video.plan import VideoPlan
from osediff_video.target import put_in_place


def cut_of(plan: VideoPlan, segments: list[Segment]) -> Cut:
    """The part of the source that the segments cover: it begins with the first frame that was kept."""
    options = plan.options
    if options.start_s is None:
        return Cut(None, options.end_s)
    first = min(segments[0].order) * Fraction(plan.info.time_base)
    return Cut(first, options.end_s)


def write_result(plan: VideoPlan, folder: Path, segments: list[Segment], cut: Cut) -> list[str]:
    """Make the target from the segments in `folder`; what the user should know of it.

    Raises OutputError or MediaError; the segments stay.
    """
    target = plan.target
    notes: list[str] = []
    part = folder / f"result{target.suffix}"
    if plan.suffix == ".gif":
        export_gif(folder, segments, plan.encoder, part)
    elif not plan.suffix:
        export_folder(folder, segments, plan.encoder, part)
    else:
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
        )
        notes = assemble(assembly, part, plan.suffix)
    try:
        put_in_place(part, target, plan.overwrite)
    except OutputError as error:
        raise OutputError(f"{error}; the work is kept in {folder}") from error
    return notes
