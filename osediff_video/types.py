"""What travels between the stages: facts about a film, and its frames."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) RGB, full range: 0..255 for uint8, 0..65535 for uint16."""


@dataclass(frozen=True)
class ColorTags:
    """How the samples of a video stream mean colour: values of ITU-T H.273, as FFmpeg numbers them.

    matrix, primaries, transfer: 2 is "not said". full_range: samples use the whole code range.
    guessed: the file did not say its matrix and we chose by picture size.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool
    guessed: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """One video stream as it will be decoded.

    width, height: pixels of a decoded frame, upright. time_base: seconds per pts unit. frame_rate: a hint for
    encoders, never a source of timestamps. frame_count_estimate: from the header or the duration; the truth is known
    at the end only.
    bit_depth: bits per sample of the source. sample_aspect_ratio: width / height of one pixel, upright.
    rotation: degrees counter-clockwise that turn the coded picture upright; the reader applies it.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction
    frame_count_estimate: int | None
    duration_s: float | None
    bit_depth: int
    color: ColorTags
    sample_aspect_ratio: Fraction = Fraction(1)
    rotation: int = 0
    pix_fmt: str = "rgb24"


@dataclass(frozen=True)
class Frame:
    """A decoded picture and its exact time.

    image: (H, W, 3) RGB, uint8 or uint16. pts, duration: in the time base of its VideoInfo; duration 0 is unknown.
    """

    image: Picture
    pts: int
    duration: int = 0
