"""No model: pictures are resized or left as they are. For comparisons, and to measure everything around the model."""

from collections.abc import Sequence

import cv2
import torch
from torch import Tensor

from image_core.color import Tone
from image_core.images import Picture, scaled_size
from image_core.options import UpscaleOptions
from image_core.upscale import Draft, Load, Size, Upscaler


class PlainResize(Upscaler):
    """Takes the place of an upscaler; scale 1 gives pictures back as they are."""

    def __init__(self, scale: float = 1.0) -> None:
        self.options, self.identity, self.load = UpscaleOptions(scale), "plain resize", Load(1, None)
        self.generative, self.color_fix, self.device = False, "none", torch.device("cpu")
        self.prompter = None

    def drafts(
        self,
        images: Sequence[Picture],
        size: Size | None = None,
        tones: Sequence[Tone] | None = None,
        revisable: bool = False,
        texts: Sequence[Tensor] | None = None,
    ) -> list[Draft]:
        """As every upscaler, but that there is nothing to tell and no latent to revise. Raises ValueError for those."""
        if tones or revisable or texts:
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
