"""Make a sample of a result, and two files that show it before and after; measure what the whole would take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from image_core.images import enlarge
from image_core.options import Precision, UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.api import AnyPath, as_path, load_upscaler
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import output_size
from osediff_video.run import Progress, Result, upscale_video
from osediff_video.sources.open import open_source
from osediff_video.workflow.probe import is_single_image

VIEW = Encoding("x264", crf=14, preset="veryfast", pix_fmt="yuv420p")
"""What every browser plays."""

AS_IT_IS = VideoOptions(temporal="off", cuts="off", deinterlace="off")
LARGEST_CROP_PX = 384


@dataclass(frozen=True)
class Sample:
    """Hold a stretch of a video that was upscaled, and what the whole would take as measured on it.

    result: of the sample.
    part: settings of the video with the stretch's begin and end.
    whole_frames: estimated frames of all that is selected; None when the container does not say.
    """

    result: Result
    part: VideoOptions
    whole_frames: int | None

    @property
    def frame_s(self) -> float:
        """Return the seconds that one frame took."""
        return self.result.elapsed_s / self.result.frames

    @property
    def whole_s(self) -> float | None:
        """Return the seconds that the whole would take here."""
        return None if self.whole_frames is None else self.frame_s * self.whole_frames

    @property
    def whole_bytes(self) -> int | None:
        """Return about how large the whole result would be."""
        if self.whole_frames is None or not self.result.target.is_file():
            return None
        return round(self.result.target.stat().st_size / self.result.frames * self.whole_frames)


def make_sample(
    source: Path,
    target: Path,
    upscaler: Upscaler,
    encoding: Encoding,
    options: VideoOptions,
    at_s: Fraction | None,
    seconds: Fraction,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Sample:
    """Upscale a stretch of a video. at_s: where it begins; None is after a third. Raises OseDiffError."""
    info = open_source(source, options)[0].info
    begins_s, ends_s = options.start_s or Fraction(0), options.end_s or Fraction(info.duration_s or 0)
    start_s = at_s if at_s is not None else begins_s + (ends_s - begins_s) / 3
    part = replace(options, start_s=start_s, end_s=start_s + seconds)
    result = upscale_video(source, target, upscaler, encoding, part, progress=progress)
    return Sample(result, part, info.frame_count_estimate)


@dataclass(frozen=True)
class Preview:
    """Hold two files of the same size and length that show a sample before and after, and what the whole would take.

    before: the source, plainly enlarged: MP4 that browsers play, or for an image PNG.
    after: the result.
    frames: number of frames in the sample.
    elapsed_s: seconds that upscaling the sample took.
    whole_s: seconds that the whole would take here, as measured; None when its length is unknown.
    whole_bytes: about how large the whole result would be, as measured; None where that is not known.
    """

    before: Path
    after: Path
    frames: int
    elapsed_s: float
    whole_s: float | None
    whole_bytes: int | None


def preview(
    source: AnyPath,
    folder: AnyPath,
    *,
    model: str | Upscaler = "auto",
    at_s: Fraction | None = None,
    seconds: float = 3.0,
    suffix: str = ".mkv",
    options: UpscaleOptions | None = None,
    video: VideoOptions | None = None,
    encoding: Encoding | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Callable[[Progress], None] = lambda _: None,
    report: Callable[[str], None] | None = None,
) -> Preview:
    """Upscale a short sample of a video, or the middle of an image, and show it before and after.

    source: a video, a folder of frames or an image; never changed.
    folder: an existing, empty folder for the two files.
    model: as in `upscale`.
    at_s: where the sample begins, in seconds from the first frame; None is after a third.
    seconds: length of the sample.
    suffix: ending of the result that the disk space is estimated for.
    options: settings for each image, the scale among them.
    video: settings for reading the video and keeping it steady; its begin and end say what the whole is.
    encoding: settings of the encoder, for the estimate.
    device: as in `upscale`.
    precision: as in `upscale`.
    progress: called after every frame.
    report: as in `upscale`.

    Raises an `OseDiffError` for everything that `upscale` refuses.
    """
    origin, place = as_path(source, "source"), as_path(folder, "folder")
    upscaler = (
        model
        if isinstance(model, Upscaler)
        else load_upscaler(model, options, device=device, precision=precision, report=report)
    )
    video = video or VideoOptions()
    if is_single_image(origin):
        return preview_image(origin, place, upscaler, video.size, suffix)
    suffix = suffix if suffix not in ("", ".gif") else ".mkv"
    raw = place / f"sample{suffix}"
    sample = make_sample(origin, raw, upscaler, encoding or Encoding(), video, at_s, Fraction(str(seconds)), progress)
    after, before = place / "after.mp4", place / "before.mp4"
    info = open_source(raw, AS_IT_IS)[0].info
    even = f"{info.width + info.width % 2}x{info.height + info.height % 2}"  # all that 4:2:0 takes
    upscale_video(raw, after, PlainResize(), VIEW, replace(AS_IT_IS, size=even))
    plain = replace(sample.part, temporal="off", cuts="off", shots=None, uncertainty=None, strict=False, size=even)
    upscale_video(origin, before, PlainResize(), VIEW, plain)
    taken = Preview(before, after, sample.result.frames, sample.result.elapsed_s, sample.whole_s, sample.whole_bytes)
    raw.unlink()
    return taken


def preview_image(source: Path, folder: Path, upscaler: Upscaler, size: str | None, suffix: str) -> Preview:
    """Upscale the middle of an image. Raises ImageError or OutputError."""
    file = read_image(source)
    height, width = file.image.shape[:2]
    whole = output_size(height, width, upscaler.options.scale, size)
    top, left = max(0, height - LARGEST_CROP_PX) // 2, max(0, width - LARGEST_CROP_PX) // 2
    crop = file.model_input[top : top + LARGEST_CROP_PX, left : left + LARGEST_CROP_PX]
    shape = round(crop.shape[0] * whole[0] / height), round(crop.shape[1] * whole[1] / width)
    started = time.monotonic()
    after = upscaler([crop], shape)[0]
    elapsed_s = time.monotonic() - started
    for name, image in (("before.png", enlarge(crop, *shape)), ("after.png", after)):
        write_image(folder / name, ImageFile(image, icc=file.icc).fitted(".png")[0], overwrite=True)
    share = whole[0] * whole[1] / (shape[0] * shape[1])
    written = folder / f"sample{suffix}"
    write_image(written, ImageFile(after, icc=file.icc).fitted(suffix)[0], overwrite=True)
    whole_bytes = round(written.stat().st_size * share)
    written.unlink()
    return Preview(folder / "before.png", folder / "after.png", 1, elapsed_s, elapsed_s * share, whole_bytes)
