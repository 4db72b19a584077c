"""Look at a video or an image before the work: what would become of it, and how it looks at one moment."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from image_core.errors import MediaError
from image_core.images import ImageArray, to_eight_bit
from image_core.models.catalogue import advised_scale, installed
from image_core.options import UpscaleOptions
from osediff_video.api import AnyPath, as_path
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import read_image
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan, output_size, plan_video
from osediff_video.sources.animation import is_animation
from osediff_video.sources.open import open_source
from osediff_video.suffixes import is_image
from osediff_video.target import check_image_target, default_image_target, default_target, result_name
from osediff_video.types import Frame

LONGEST_FRAME_S = 1


@dataclass(frozen=True)
class ImagePlan:
    """Hold what will be done with one image.

    source: path of the image.
    target: path of the result.
    source_size: height and width of the image in pixels.
    height, width: size of the result in pixels.
    bit_depth: bits per sample, 8 or 16.
    alpha: the image has transparency.
    notes: sentences on what the result will not hold.
    """

    source: Path
    target: Path
    source_size: tuple[int, int]
    height: int
    width: int
    bit_depth: int
    alpha: bool
    notes: tuple[str, ...]


def is_single_image(source: Path) -> bool:
    """Return whether a path is one image, as `osediff image` takes it, and not an animation or numbered frames."""
    return is_image(source) and source.is_file() and not is_animation(source)


def probe(
    source: AnyPath,
    target: AnyPath | None = None,
    *,
    model: str = "auto",
    scale: float | None = None,
    size: str | None = None,
    overwrite: bool = False,
    video: VideoOptions | None = None,
    encoding: Encoding | None = None,
) -> VideoPlan | ImagePlan:
    """Inspect a video, a folder of frames or an image, and return what upscaling would do with it.

    source: what to look at; nothing is written.
    target: path of the result, or a folder that would hold it; None is beside the source.
    model: name or folder of the model, which advises the scale.
    scale: output size / input size, 1 to 8; None is what the model advises.
    size: "1080p", "4k", a short side in pixels, or WIDTHxHEIGHT, in place of the scale.
    overwrite: an existing target may be replaced.
    video: settings for reading the video.
    encoding: settings of the encoder.

    Raises ValueError for a wrong argument, and an `OseDiffError` for everything that upscaling would refuse before its
    work.
    """
    origin, video = as_path(source, "source"), video or VideoOptions()
    scale, size = UpscaleOptions(scale or advised_scale(model)).scale, size or video.size
    label = size or f"x{scale:g}"
    place = None if target is None else as_path(target, "target")
    if is_single_image(origin):
        usual = default_image_target(origin, label)
        return plan_image(origin, in_folder(place, usual.name) or usual, scale, size, overwrite)
    place = in_folder(place, result_name(origin, label)) or default_target(origin, label)
    options = VideoOptions(**{**vars(video), "size": size})
    return plan_video(origin, place, scale, encoding or Encoding(), options, overwrite=overwrite)


def in_folder(target: Path | None, name: str) -> Path | None:
    """Return the path of a result that is named by a file, or by the folder that holds it."""
    return target / name if target is not None and target.is_dir() else target


def plan_image(source: Path, target: Path, scale: float, size: str | None, overwrite: bool) -> ImagePlan:
    """Read an image and decide on its result. Raises ImageError or OutputError."""
    check_image_target(source, target, overwrite)
    file = read_image(source)
    height, width = file.image.shape[:2]
    result_height, result_width = output_size(height, width, scale, size)
    _, lost = file.fitted(target.suffix)
    return ImagePlan(
        source,
        target,
        (height, width),
        result_height,
        result_width,
        8 * file.image.dtype.itemsize,
        file.alpha is not None,
        (*file.notes, *lost),
    )


def read_frame(source: AnyPath, at_s: float = 0.0) -> ImageArray:
    """Return an image, or the first frame of a video from a time on, upright and in 8 bits.

    source: a video, a folder of frames or an image.
    at_s: seconds from the first frame.

    Returns (H, W, 3) RGB of uint8. Within the last frame that is the last one. Raises ImageError or MediaError,
    also for a time after the end.
    """
    path = as_path(source, "source")
    if is_single_image(path):
        return to_eight_bit(read_image(path).image)
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    start_s = Fraction(at_s).limit_denominator(1_000_000)
    with suppress(MediaError):
        for frame in frames_from(path, start_s):
            return to_eight_bit(frame.image)
    # the time may lie within the last frame, which began before it
    last = deque(frames_from(path, max(Fraction(0), start_s - LONGEST_FRAME_S)), maxlen=1)
    if not last:
        raise MediaError(f"{path}: shows nothing at {at_s:g} s")
    return to_eight_bit(last[0].image)


def frames_from(path: Path, start_s: Fraction) -> Iterator[Frame]:
    """Yield the frames of a video or folder from a time on. Raises MediaError."""
    return open_source(path, VideoOptions(start_s=start_s, deinterlace="off"))[0].frames()


def model_names() -> list[str]:
    """Return the names of the models on this machine."""
    return list(installed())
