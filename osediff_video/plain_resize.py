"""Resize images, or leave them as they are, without a model.

For comparisons, and to measure everything around the model.
"""

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor

from image_core.color import ColorStats
from image_core.device.memory import Workload
from image_core.device.workers import Crew, Workers
from image_core.images import ImageArray, scaled_size
from image_core.options import UpscaleOptions
from image_core.upscaler import Draft, Size, Upscaler


class PlainResize(Upscaler):
    """Replace an upscaler without a model; scale 1 returns images as they are."""

    def __init__(self, scale: float = 1.0) -> None:
        self.options, self.identity = UpscaleOptions(scale), "plain resize"
        self.generative, self.color_fix, self.device = False, "none", torch.device("cpu")
        self.prompter, self.report = None, lambda _: None
        self.workers = Workers(self.device)

    def crew_for(self, height: int, width: int, threads: int | None = None) -> Crew:  # noqa: ARG002
        """Return one worker, which resizes."""
        return Crew(1, threads or 1)

    def use_workload(self, height: int, width: int, workload: Workload) -> None:
        """Accept any workload: frames are resized one at a time."""

    def workload_for(self, height: int, width: int) -> Workload:  # noqa: ARG002 - the same at every size
        """Return the workload of one frame at a time."""
        return Workload(1, None)

    def drafts(
        self,
        images: Sequence[ImageArray],
        size: Size | None = None,
        tones: Sequence[ColorStats] | None = None,
        revisable: bool = False,
        embeddings: Sequence[Tensor] | None = None,
    ) -> list[Draft]:
        """Return drafts like every upscaler, but without prompts or a latent to revise. Raises ValueError for those."""
        if tones or revisable or embeddings:
            raise ValueError("a plain resize has no colour fix, latent or text; use temporal pixel or off")
        height, width = size or scaled_size(images[0].shape[0], images[0].shape[1], self.options.scale)
        return [
            Draft(
                image
                if image.shape[:2] == (height, width)
                else cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
            )
            for image in images
        ]
