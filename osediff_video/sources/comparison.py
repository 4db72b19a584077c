"""Combine two versions of the same images in one: side by side, split by a line, or wiped."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from image_core.errors import MediaError
from image_core.images import to_eight_bit
from osediff_video.options import Layout, VideoOptions
from osediff_video.sources.open import open_source
from osediff_video.types import Bookmark, Faults, Frame, ImageArray, Jump, Source, VideoInfo

WIDEST_PX = 3840
WIPE_S = 4.0
LINE_PX = 2


def common_size(first: tuple[int, int], second: tuple[int, int], layout: Layout) -> tuple[int, int]:
    """Return height and width at which both are shown: the larger's, even, shrunk if the whole is too wide."""
    height, width = max(first, second)
    shown = width * (2 if layout == "side" else 1)
    factor = min(1.0, WIDEST_PX / shown)
    return max(2, round(height * factor / 2) * 2), max(2, round(width * factor / 2) * 2)


def compose(first: ImageArray, second: ImageArray, layout: Layout, time_s: float = 0.0) -> ImageArray:
    """Combine two images: (H, 2 W, 3) side by side, else (H, W, 3); uint8 unless both are deeper.

    time_s: moves the line of a wipe.
    """
    height, width = common_size(first.shape[:2], second.shape[:2], layout)
    left, right = (fitted(image, height, width, first.dtype == second.dtype == np.uint16) for image in (first, second))
    if layout == "side":
        return cast(ImageArray, np.concatenate([left, right], axis=1))
    share = 0.5 if layout == "split" else 0.5 - 0.5 * math.cos(2 * math.pi * time_s / WIPE_S)
    edge = round(share * width)
    result = right.copy()
    result[:, :edge] = left[:, :edge]
    result[:, max(0, edge - LINE_PX // 2) : edge + LINE_PX // 2] = np.iinfo(result.dtype).max
    return result


def fitted(image: ImageArray, height: int, width: int, deep: bool) -> ImageArray:
    image = image if deep else to_eight_bit(image)
    if image.shape[:2] == (height, width):
        return image
    smaller = image.shape[0] > height
    return cast(
        ImageArray, cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    )


class Comparison:
    """Read two sources as one, paired frame by frame, with the times of the second. Ends with the shorter one."""

    def __init__(self, first: Source, second: Source, layout: Layout) -> None:
        self.first, self.second, self.layout = first, second, layout
        a, b = first.info, second.info
        height, width = common_size((a.height, a.width), (b.height, b.width), layout)
        self.info: VideoInfo = replace(
            b,
            height=height,
            width=width * (2 if layout == "side" else 1),
            bit_depth=min(a.bit_depth, b.bit_depth),
            alpha=False,
        )

    @property
    def faults(self) -> Faults:
        """Return the faults of both sources."""
        return self.first.faults + self.second.faults

    @property
    def jumps(self) -> Sequence[Jump]:
        """Return where the times of the second source start again, whose sound is carried over."""
        return self.second.jumps

    @property
    def last_sign(self) -> float:
        """Return the older last sign of the two sources."""
        return min(self.first.last_sign, self.second.last_sign)

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:  # noqa: ARG002 - no need here
        for a, b in zip(self.first.frames(skip), self.second.frames(skip), strict=False):
            image = compose(a.image, b.image, self.layout, float(b.pts * self.info.time_base))
            yield Frame(image, b.pts, b.duration)


def open_comparison(first: Path, second: Path, layout: Layout, first_part: VideoOptions | None = None) -> Comparison:
    """Open both sources. first_part: which part of the first video is shown. Raises MediaError."""
    if first == second:
        raise MediaError(f"{first}: compared with itself; name two files")
    sources = [open_source(path, part or VideoOptions())[0] for path, part in ((first, first_part), (second, None))]
    return Comparison(sources[0], sources[1], layout)
