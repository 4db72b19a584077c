"""No model: pictures are resized or left as they are. For comparisons, and to measure everything around the model."""

from collections.abc import Sequence

import cv2

from image_core.images import Picture, scaled_size
from image_core.options import UpscaleOptions
from image_core.upscale import Load, Upscaler


class PlainResize(Upscaler):
    """Takes the place of an upscaler; scale 1 gives pictures back as they are."""

    def __init__(self, scale: float = 1.0) -> None:
        self.options, self.identity, self.load = UpscaleOptions(scale), "plain resize", Load(1, None)
        self.generative = False

    def __call__(self, images: Sequence[Picture], size: tuple[int, int] | None = None) -> list[Picture]:
        height, width = size or scaled_size(images[0].shape[0], images[0].shape[1], self.options.scale)
        return [
            image
            if image.shape[:2] == (height, width)
            else cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
            for image in images
        ]
