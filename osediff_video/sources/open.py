"""Open whatever a user names as a source of frames."""

from dataclasses import replace
from pathlib import Path

from image_core.errors import MediaError
from osediff_video.media.deinterlace import look_for_fields
from osediff_video.media.extras import find_extras
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.media.reading.stdin import PIPE
from osediff_video.options import VideoOptions
from osediff_video.sources.animation import AnimationSource, is_animation
from osediff_video.sources.folder import FolderSource, gaps, is_sequence
from osediff_video.types import UPRIGHT, Source, VideoInfo


def open_source(path: Path, options: VideoOptions) -> tuple[Source, list[str]]:
    """Open what the user points at; return it with what the user should know of how it is read. Raises MediaError."""
    if is_sequence(path):
        mixed, damaged = options.size is not None, options.allow_damaged
        source = FolderSource(
            path, options.fps, options.start_s, options.end_s, mixed_sizes=mixed, allow_damaged=damaged
        )
        missing = gaps(source.paths)
        return source, [*source.notes, *([missing] if missing else [])]
    if is_animation(path):
        return AnimationSource(path, options.start_s, options.end_s), []
    info = probe(path)
    notes = []
    deinterlace = options.deinterlace == "on"
    if path == PIPE and (options.start_s or 0) > 0:
        raise MediaError("standard input: --start needs a file")
    if options.deinterlace == "auto" and info.height <= 1088 and path != PIPE:  # nothing larger was ever interlaced
        deinterlace, note = look_for_fields(path)
        notes += [note] if note else []
        notes += ["interlaced: deinterlaced with bwdif, one image for each frame"] if deinterlace else []
    if options.keep_rotation and info.orientation.transpose:
        ratio = 1 / info.sample_aspect_ratio
        info = replace(info, width=info.height, height=info.width, sample_aspect_ratio=ratio)
    if options.keep_rotation:
        info = replace(info, orientation=UPRIGHT)
    info = replace(info, frame_count_estimate=frames_within(info, options))
    if path != PIPE:
        extras, timecode = find_extras(path)
        info = replace(info, extras=extras, timecode=timecode if options.start_s is None else None)
    start_s, end_s = (None if time_s is None else time_s + info.begins_s for time_s in (options.start_s, options.end_s))
    return VideoSource(info, start_s=start_s, end_s=end_s, deinterlace=deinterlace, strict=options.strict), notes


def frames_within(info: VideoInfo, options: VideoOptions) -> int | None:
    """Return how many frames to expect: the video's, or the share of them in the selected part."""
    if info.frame_count_estimate is None or not info.duration_s:
        return info.frame_count_estimate
    end_s = info.duration_s if options.end_s is None else min(float(options.end_s), info.duration_s)
    return max(1, round(info.frame_count_estimate * max(0.0, end_s - float(options.start_s or 0)) / info.duration_s))
