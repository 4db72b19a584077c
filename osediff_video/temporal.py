"""Steady pictures: each output is blended with the one before it, moved along the motion of the input."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.flow import Motion, enlarged, motion, warp
from osediff_video.types import Frame, Picture

WARMUP_FRAMES = 8
"""How far back the blend looks where a segment begins: what is older weighs 0.7^8, less than 6 %."""

BANDS_SIGMA_PX = 1.5


@dataclass(frozen=True)
class Blend:
    """Weights of the previous picture, where motion is certain, for low and high spatial frequencies.

    Equal weights are one blend. A generative model invents texture that is not coherent in time and would be averaged
    away: it gets less in the high band.
    """

    low: float
    high: float

    @staticmethod
    def of(strength: float, generative: bool) -> "Blend":
        """0.7 gives what measured best: 0.7 throughout, or 0.85 and 0.3 for a generative model."""
        return Blend(strength + (1 - strength) / 2, strength * 3 / 7) if generative else Blend(strength, strength)


State = NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """An input frame on its way: what it has to do with the one before. motion: None where there is nothing to carry.

    same: the input equals its predecessor, pixel for pixel. output: the model's picture, None before the model.
    """

    position: int
    frame: Frame
    motion: Motion | None
    same: bool = False
    output: Picture | None = None


def steps(frames: Iterable[Frame], first: int, with_motion: bool) -> Iterator[Step]:
    """Number frames from `first` on and relate each to its predecessor within the shot."""
    previous: Frame | None = None
    for position, frame in enumerate(frames, first):
        before = None if previous is None or frame.cut else previous.image
        same = before is not None and np.array_equal(frame.image, before)
        found = motion(before, frame.image) if with_motion and before is not None and not same else None
        yield Step(position, frame, found, same)
        previous = frame


def steadied(upscaled: Iterable[Step], blend: Blend, segment_frames: int) -> Iterator[Step]:
    """Blend the outputs, in order. At every segment's start the blend begins anew, some frames before it.

    So a segment's pictures depend on nothing older than its warm-up, wherever reading began.
    """
    recent: deque[Step] = deque(maxlen=WARMUP_FRAMES)
    state: State | None = None
    for step in upscaled:
        if step.position % segment_frames == 0:
            state = None
            for earlier in recent:
                state = blended(state, earlier, blend)
        state = blended(state, step, blend)
        recent.append(step)
        assert step.output is not None
        yield replace(step, output=rounded(state, step.output))


def blended(state: State | None, step: Step, blend: Blend) -> State:
    """The next state, (H, W, 3) float32 in the units of the output. Raises nothing; a cut begins anew."""
    output = cast(Picture, step.output)
    if state is not None and step.same:
        return state
    current = output.astype(np.float32)
    if state is None or step.motion is None:
        return current
    large = enlarged(step.motion, *output.shape[:2])
    moved = warp(state, large.flow)
    if blend.low == blend.high:
        share = blend.low * large.confidence
        return cast(State, cv2.blendLinear(current, moved, 1 - share, share))
    difference = moved - current
    low = cv2.GaussianBlur(difference, (0, 0), BANDS_SIGMA_PX)
    return current + large.confidence[..., None] * (blend.high * difference + (blend.low - blend.high) * low)


def rounded(state: State, like: Picture) -> Picture:
    white = np.iinfo(like.dtype).max
    return cast(Picture, np.clip(np.rint(state), 0, white).astype(like.dtype))
