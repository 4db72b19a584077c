"""Relate each frame in the chain to the previous one."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from image_core.color import ColorStats
from image_core.device.transfer import Landing
from image_core.drafts import AnyImage, Draft
from osediff_video.stages.prefetch import in_threads
from osediff_video.temporal.flow import Estimator, Motion, motion
from osediff_video.types import Frame, ImageArray


@dataclass(frozen=True)
class Step:
    """Carry an input frame through the chain with its relation to the previous one.

    same: the input equals its predecessor, pixel for pixel. tone: how its colours differ from those of its neighbours,
    None where nobody asks. embedding: of its shot's prompt, (1, L, D), None where all have the same. draft: the model's
    image, None before the model. output: the image as it is now. landing: the last image, on its way from a device.
    """

    position: int
    frame: Frame
    motion: Motion | None
    same: bool = False
    tone: ColorStats | None = None
    embedding: Tensor | None = None
    draft: Draft | None = None
    output: AnyImage | None = None
    landing: Landing | None = None


@dataclass(frozen=True)
class Pair:
    """Hold a frame, its number, and its predecessor's image: None at the start of a shot. measured: its motion too."""

    position: int
    frame: Frame
    before: ImageArray | None
    measured: bool


def steps(
    frames: Iterable[Frame],
    first: int,
    estimate: Estimator | None,
    wanted: Callable[[], bool] = lambda: True,
    threads: int = 1,
) -> Iterator[Step]:
    """Number frames from `first` on and relate each to its predecessor within the shot.

    estimate: None estimates no motion, nor is it while it is not `wanted`. threads: how many pairs are looked at at
    once; what is found does not depend on it.
    """

    def related(pair: Pair) -> Step:
        same = pair.before is not None and np.array_equal(pair.frame.image, pair.before)
        moved = None
        if estimate and pair.before is not None and pair.measured and not same:
            moved = motion(pair.before, pair.frame.image, estimate)
        return Step(pair.position, pair.frame, moved, same)

    return in_threads(pairs(frames, first, wanted), related, threads)


def pairs(frames: Iterable[Frame], first: int, wanted: Callable[[], bool]) -> Iterator[Pair]:
    """Put every frame beside its predecessor."""
    previous: Frame | None = None
    for position, frame in enumerate(frames, first):
        before = None if previous is None or frame.cut else previous.image
        yield Pair(position, frame, before, wanted())
        previous = frame
