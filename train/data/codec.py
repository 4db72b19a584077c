"""Degrade a good clip as a bad camera and a real video encoder do.

Kernels, sizes and strengths are drawn once and hold for the whole clip; noise is fresh in every frame; then the clip
goes through H.264, MPEG-4 or HEVC at a random quality, in memory.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from train.data.degrade import Degradation, draw_camera, photograph
from train.data.encoders import Clip, encoder_options, transcode
from train.data.kernels import Range


@dataclass(frozen=True)
class Coding:
    """Define how likely a video encoder is, and how good.

    chance: probability of a pass through an encoder at all. quality: range of each encoder, the best first.

    The constant rate factor of x264 and x265, the quantiser of MPEG-4: from hardly visible to what makes one leave.
    """

    chance: float = 1.0
    quality: dict[str, Range] = field(
        default_factory=lambda: {"libx264": (18, 35), "libx265": (20, 37), "mpeg4": (2, 12)}
    )


def degrade_clip(clip: Clip, settings: Degradation, coding: Coding, rng: Generator) -> Clip:
    """Return the low-quality clip, (T, H / scale, W / scale, 3). Raises ValueError when a side does not divide."""
    camera = draw_camera(settings, clip.shape[1], clip.shape[2], rng)
    small = np.stack([photograph(frame.astype(np.float32) / np.float32(255), camera, rng) for frame in clip])
    if rng.random() >= coding.chance:
        return small
    codec = list(coding.quality)[rng.integers(len(coding.quality))]
    return transcode(small, codec, encoder_options(codec, round(rng.uniform(*coding.quality[codec]))))
