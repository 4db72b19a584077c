"""Keep colours steady: smooth the statistics that a colour fix aims at over time."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from image_core.color import ColorStats
from osediff_video.temporal.steps import Step

STATS_FRAMES = 8
STATS_SPAN = 24
"""Positions after which an image that was not seen again is forgotten, so that reading may begin anywhere."""

SAME_STATS = 1 / 255
"""A difference in mean or deviation that is rather flicker than light, in parts of white."""


def steady_colors(related: Iterable[Step]) -> Iterator[Step]:
    """Give every step its tone: the difference of its colours from the mean of its predecessors within the shot.

    A mean over the last eight images that differ, each weighing less the more it differs, exp(-(d / tau)^2 / 2): noise
    and the pulse of a codec are smoothed, a fade or a flash is not delayed. It depends on the last 24 frames alone.
    """
    recent: deque[tuple[int, np.ndarray]] = deque(maxlen=STATS_FRAMES)
    for step in related:
        if step.frame.cut:
            recent.clear()
        if step.same and recent:
            recent[-1] = (step.position, recent[-1][1])
        else:
            recent.append((step.position, statistics(step)))
        while recent[0][0] <= step.position - STATS_SPAN:
            recent.popleft()
        current = recent[-1][1]
        known = np.stack([stats for _, stats in recent])
        weight = np.exp(-((np.abs(known - current).max((1, 2)) / SAME_STATS) ** 2) / 2)
        mean, deviation = np.tensordot(weight / weight.sum(), known, 1)
        gain = np.where(current[1] > 0, deviation / np.maximum(current[1], 1e-6), 1)
        yield replace(step, tone=ColorStats(tuple(mean - current[0]), tuple(gain)))


def statistics(step: Step) -> np.ndarray:
    """Return mean and standard deviation of each channel in parts of white, (2, 3)."""
    image = step.frame.image
    return np.stack(cv2.meanStdDev(image))[..., 0] / np.iinfo(image.dtype).max
