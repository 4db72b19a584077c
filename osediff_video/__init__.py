"""Upscale videos and images with one diffusion step per frame; everything else in the file stays as it was.

>>> from osediff_video import upscale
>>> upscale("in.mp4")  # -> in_x4.mp4

The names below are the public API. They are imported when they are first used: importing the package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from image_core.errors import (
        CheckpointError,
        DownloadError,
        ImageError,
        MediaError,
        ModelNotFoundError,
        OseDiffError,
        OutOfMemoryError,
        OutputError,
        PresetError,
    )
    from image_core.options import AsPublished, UpscaleOptions
    from image_core.upscaler import Upscaler
    from osediff_video.api import load_upscaler, upscale, upscale_frames, upscale_image
    from osediff_video.encoding import Encoding
    from osediff_video.job.folder import discard_unfinished, unfinished_frames
    from osediff_video.options import VideoOptions
    from osediff_video.plan import VideoPlan
    from osediff_video.run import Progress, Result
    from osediff_video.workflow.presets import Preset, preset_names, read_preset
    from osediff_video.workflow.preview import Preview, preview
    from osediff_video.workflow.probe import ImagePlan, model_names, probe, read_frame

    __version__: str

__all__ = [
    "AsPublished",
    "CheckpointError",
    "DownloadError",
    "Encoding",
    "ImageError",
    "ImagePlan",
    "MediaError",
    "ModelNotFoundError",
    "OseDiffError",
    "OutOfMemoryError",
    "OutputError",
    "Preset",
    "PresetError",
    "Preview",
    "Progress",
    "Result",
    "UpscaleOptions",
    "Upscaler",
    "VideoOptions",
    "VideoPlan",
    "__version__",
    "discard_unfinished",
    "load_upscaler",
    "model_names",
    "preset_names",
    "preview",
    "probe",
    "read_frame",
    "read_preset",
    "unfinished_frames",
    "upscale",
    "upscale_frames",
    "upscale_image",
]

_ROOMS = {
    "AsPublished": "image_core.options",
    "Encoding": "osediff_video.encoding",
    "ImagePlan": "osediff_video.workflow.probe",
    "Preset": "osediff_video.workflow.presets",
    "Preview": "osediff_video.workflow.preview",
    "Progress": "osediff_video.run",
    "Result": "osediff_video.run",
    "UpscaleOptions": "image_core.options",
    "Upscaler": "image_core.upscaler",
    "VideoOptions": "osediff_video.options",
    "VideoPlan": "osediff_video.plan",
    "discard_unfinished": "osediff_video.job.folder",
    "load_upscaler": "osediff_video.api",
    "model_names": "osediff_video.workflow.probe",
    "preset_names": "osediff_video.workflow.presets",
    "preview": "osediff_video.workflow.preview",
    "probe": "osediff_video.workflow.probe",
    "read_frame": "osediff_video.workflow.probe",
    "read_preset": "osediff_video.workflow.presets",
    "unfinished_frames": "osediff_video.job.folder",
    "upscale": "osediff_video.api",
    "upscale_frames": "osediff_video.api",
    "upscale_image": "osediff_video.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it. Raises AttributeError."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("osediff-video")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS.get(name, "image_core.errors")), name)


def __dir__() -> list[str]:
    """List the names of the module, including public ones that are not imported yet."""
    return sorted({*globals(), *__all__})
