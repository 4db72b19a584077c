"""Upscale a video, an image, or frames in memory: the public functions, which commands and programs call."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import TypeVar, overload

import torch

from image_core.bundle import Bundle
from image_core.device.estimate import seconds_per_megapixel
from image_core.draws.as_published import upscale_as_published
from image_core.images import ImageArray
from image_core.models import load
from image_core.models.catalogue import advised_scale
from image_core.models.choice import choose_model
from image_core.options import AsPublished, Engine, Precision, UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.chain import prepare, upscaled
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import read_image, write_image
from osediff_video.images.restore import restore_file
from osediff_video.job.finished import check_target_or_finished, plan_run
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan, output_size, plan_pipe
from osediff_video.run import Progress, Result, upscale_planned
from osediff_video.sources.arrays import ArraySource
from osediff_video.target import check_image_target, default_image_target, default_target

AnyPath = str | PathLike[str]
MAX_FPS = 1000
T = TypeVar("T")


def upscale(
    source: AnyPath,
    target: AnyPath | None = None,
    *,
    model: str | Upscaler = "auto",
    scale: float | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    options: UpscaleOptions | None = None,
    video: VideoOptions | None = None,
    encoding: Encoding | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    restart: bool = False,
    planned: Callable[[VideoPlan], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> Result:
    """Upscale a video or a folder of frames and keep every frame, timestamp and stream.

    source: a video, a folder of frames, or "-" for standard input; never changed.
    target: a video, a folder for frames, or "-" for standard output; None is beside the source, such as in_x4.mp4.
    model: a name, the folder of a bundle, or an `Upscaler` that is loaded already and brings its own options.
    scale: output size / input size, 1 to 8; None is that of `options`, or what the model advises: 4, for sd21-face 1.
    overwrite: replace an existing target.
    progress: called after every frame.
    options: settings for each image.
    video: settings for reading the video and keeping it steady.
    encoding: settings of the encoder.
    device: "auto", "cpu", "cuda", "cuda:1" or "mps".
    precision: "auto", "fp32", "fp16", "bf16", or "mixed": the autoencoder in bf16, the UNet in fp32.
    engine: "torch", "openvino" (lite on a CPU), "openvino-int8" (the same in 8 bits, for processors without bfloat16),
        or "auto", which is what `bench --tune` found fastest here, else torch.
    restart: discard the unfinished work of an earlier call.
    planned: called with the plan (size, encoder, streams, notes) before the work begins.
    report: called with sentences about the model and about what memory forces.

    Returns what was written and how it compares with the source. Interrupted at any moment, the same call resumes.
    Raises TypeError or ValueError for a wrong argument, and an `OseDiffError` for everything that the command refuses.
    """
    video, encoding = _instance(video, VideoOptions, "video"), _instance(encoding, Encoding, "encoding")
    settings = _settings(model, scale, options)
    origin = as_path(source, "source")
    label = video.size or f"x{settings.scale:g}"
    place = default_target(origin, label) if target is None else as_path(target, "target")
    check_target_or_finished(origin, place, overwrite)
    plan, finished = plan_run(origin, place, settings.scale, encoding, video, restart=restart, overwrite=overwrite)
    return upscale_planned(
        plan,
        _upscaler(model, settings, device, precision, report, engine),
        finished,
        restart=restart,
        progress=progress or (lambda _: None),
        planned=planned or (lambda _: None),
    )


@overload
def upscale_image(
    source: ImageArray,
    *,
    model: str | Upscaler = ...,
    scale: float | None = ...,
    size: str | None = ...,
    as_published: AsPublished | None = ...,
) -> ImageArray: ...
@overload
def upscale_image(
    source: AnyPath,
    target: AnyPath | None = None,
    *,
    model: str | Upscaler = ...,
    scale: float | None = ...,
    size: str | None = ...,
    overwrite: bool = ...,
    options: UpscaleOptions | None = ...,
    device: str = ...,
    precision: Precision = ...,
    engine: Engine = ...,
    as_published: AsPublished | None = ...,
    report: Callable[[str], None] | None = ...,
) -> Path: ...
def upscale_image(
    source: ImageArray | AnyPath,
    target: AnyPath | None = None,
    *,
    model: str | Upscaler = "auto",
    scale: float | None = None,
    size: str | None = None,
    overwrite: bool = False,
    options: UpscaleOptions | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    as_published: AsPublished | None = None,
    report: Callable[[str], None] | None = None,
) -> ImageArray | Path:
    """Upscale one image: an array gives an array, a file gives a file.

    source: (H, W, 3) RGB of uint8 or uint16, or the path of an image.
    target: path of the result, for a source that is a file; None is NAME_x4.png beside it.
    model: as in `upscale`.
    scale: as in `upscale`.
    size: "1080p", "4k", a short side in pixels, or WIDTHxHEIGHT, in place of the scale.
    overwrite: replace an existing target.
    options: settings for the image.
    device: as in `upscale`.
    precision: as in `upscale`.
    engine: as in `upscale`.
    as_published: make it as the authors' test code of OSEDiff does, to compare with their paper, with a model of the
        kind sd21 that has a tagger; other settings than theirs are refused.
    report: called with sentences about the model, about what memory forces, and about what the target cannot hold.

    Returns an array of the same type, (H * scale, W * scale, 3) or of `size`, or the path of the file that was written.
    Transparency, colour profile, EXIF and 16 bits are kept where the target can hold them.
    Raises TypeError or ValueError for a wrong argument, and an `OseDiffError` for everything that the command refuses.
    """
    settings = _settings(model, scale, options)
    if as_published is not None:
        _instance(as_published, AsPublished, "as_published").check(settings)
        if size is not None:
            raise ValueError("size: as_published goes by scale, a whole number, as the published code does")
    if not isinstance(source, str | PathLike):
        if target is not None:
            raise TypeError("target: an array is returned, not written; leave target out, or give a path as source")
        image = ArraySource([source]).first
        if as_published is not None:
            upscaler = _upscaler(model, settings, device, precision, report, engine)
            return upscale_as_published(upscaler, image, as_published)
        shape = output_size(image.shape[0], image.shape[1], settings.scale, size)
        return _upscaler(model, settings, device, precision, report, engine)([image], shape)[0]
    origin = as_path(source, "source")
    place = (
        default_image_target(origin, size or f"x{settings.scale:g}") if target is None else as_path(target, "target")
    )
    check_image_target(origin, place, overwrite)
    file = read_image(origin)
    upscaler = _upscaler(model, settings, device, precision, report, engine)
    made, notes = restore_file(upscaler, file, str(origin), settings.scale, size, as_published)
    result, lost = made.fitted(place.suffix)
    for note in (*file.notes, *notes, *lost) if report else ():
        report(f"{origin}: {note}")  # type: ignore[misc]
    write_image(place, result, overwrite=overwrite)
    return place


def upscale_frames(
    frames: Iterable[ImageArray],
    *,
    model: str | Upscaler = "auto",
    scale: float | None = None,
    fps: Fraction | float = 25,
    options: UpscaleOptions | None = None,
    video: VideoOptions | None = None,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    report: Callable[[str], None] | None = None,
) -> Iterator[ImageArray]:
    """Upscale frames as they arrive, kept steady in time like a video; memory does not depend on their number.

    frames: (H, W, 3) RGB of uint8 or uint16, all of one size and type.
    model: as in `upscale`.
    scale: as in `upscale`.
    fps: rate of the frames, for settings in seconds.
    options: settings for each image.
    video: settings for keeping the frames steady.
    device: as in `upscale`.
    precision: as in `upscale`.
    engine: as in `upscale`.
    report: as in `upscale`.

    Yields one array for each frame, in order, (H * scale, W * scale, 3), of the same type.
    Raises TypeError or ValueError for a wrong argument, MediaError for a frame that is not like the first.
    """
    video = _instance(video, VideoOptions, "video")
    settings = _settings(model, scale, options)
    if not 0 < fps <= MAX_FPS:
        raise ValueError(f"fps: expected a number above 0, up to {MAX_FPS}, got {fps}")
    if video.realtime:
        raise ValueError("video: realtime is for videos written to standard output; frames in memory can wait")
    source = ArraySource(frames, Fraction(fps))
    upscaler = _upscaler(model, settings, device, precision, report, engine)
    height, width = output_size(source.info.height, source.info.width, upscaler.options.scale, video.size)
    # planned as a pipe, which comes once too; what it would encode is not used
    plan = plan_pipe(source, height, width, Encoding(), replace(video, pipe_format="y4m"), [])
    steadiness = prepare(video, upscaler)

    def results() -> Iterator[ImageArray]:
        workers = upscaler.workers.engaged(upscaler.crew_for(height, width))
        with workers, closing(upscaled(plan, upscaler, steadiness, None, 0)) as numbered:
            for _, frame in numbered:
                yield frame.image

    return results()


def load_upscaler(
    model: str = "auto",
    options: UpscaleOptions | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    engine: Engine = "auto",
    report: Callable[[str], None] | None = None,
) -> Upscaler:
    """Load a model once, for many calls.

    model: a name or the folder of a bundle; "auto" is the best one that is installed.
    options: settings for each image, the scale among them.
    device: as in `upscale`.
    precision: as in `upscale`.
    engine: as in `upscale`.
    report: called with sentences: which model runs, and what memory forces.

    Returns an upscaler: `upscaler([image, ...])` upscales arrays, `upscale(source, model=upscaler)` a video.
    Raises ModelNotFoundError for a model or device that is not here, CheckpointError for damaged weights, TypeError or
    ValueError for a wrong argument.
    """
    given = _instance(options, UpscaleOptions, "options")
    report = report or (lambda _: None)
    if given.compile and engine == "auto":
        engine = "torch"
    choice = choose_model(model, device, precision, report, engine, given.fast)
    bundle, place, dtype = choice.bundle, torch.device(choice.device), load.DTYPES[choice.precision]
    other = load.AUTOENCODER_DTYPES[choice.precision]
    if options is None:
        given = replace(given, scale=bundle.config.scale)
    if note := duration_note(bundle, place, dtype, other, bundle.chosen_tiny_decoder(given.tiny_decoder) is not None):
        report(note)
    upscaler = load.load_upscaler(
        bundle, given, device=place, dtype=dtype, autoencoder_dtype=other, report=report, engine=choice.engine
    )
    report(f"model: {choice}")
    return upscaler


def duration_note(
    bundle: Bundle,
    device: torch.device,
    dtype: torch.dtype,
    autoencoder_dtype: torch.dtype,
    tiny_decoder: bool = False,
) -> str | None:
    """Return what a large model will take on a CPU, as measured now, in a sentence; None for all others."""
    if bundle.config.autoencoder != "kl" or device.type != "cpu":
        return None
    minutes = seconds_per_megapixel(device, dtype, autoencoder_dtype, tiny_decoder) / 60
    return (
        f"note: {bundle.config.name} wants a GPU, and none is used: about {minutes:.1f} minutes for each million "
        "pixels of the output; --model lite is made for CPUs"
    )


def as_path(value: object, name: str) -> Path:
    """Return a str or path as a Path. Raises TypeError."""
    if isinstance(value, str) and value:
        return Path(value)
    if isinstance(value, PathLike):
        return Path(value)
    raise TypeError(f"{name}: expected a str or a path, got {value!r} of type {type(value).__name__}")


def _settings(model: str | Upscaler, scale: float | None, options: UpscaleOptions | None) -> UpscaleOptions:
    """Return the settings that hold. Raises TypeError, ValueError."""
    if not isinstance(model, str | PathLike | Upscaler):
        raise TypeError(f"model: expected a name, a folder or an Upscaler, got a {type(model).__name__}")
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int | float)):
        raise TypeError(f"scale: expected a number, got a {type(scale).__name__}")
    if isinstance(model, Upscaler):
        if options is not None:
            raise ValueError("options: an Upscaler brings its own; give them to load_upscaler, or use model by name")
        return model.options
    given = _instance(options, UpscaleOptions, "options")
    if scale is None:
        return given if options is not None else replace(given, scale=advised_scale(str(model)))
    return replace(given, scale=float(scale))


def _upscaler(
    model: str | Upscaler,
    settings: UpscaleOptions,
    device: str,
    precision: Precision,
    report: Callable[[str], None] | None,
    engine: Engine,
) -> Upscaler:
    if isinstance(model, Upscaler):
        return model
    return load_upscaler(model, settings, device=device, precision=precision, report=report, engine=engine)


def _instance(value: T | None, kind: type[T], name: str) -> T:
    """Return `value`, or the default of its type for None. Raises TypeError."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {kind.__name__}, got a {type(value).__name__}")
    return value
