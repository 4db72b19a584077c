"""Estimate motion between two frames and how far it can be trusted, and move images along it."""

import functools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from image_core.device.tuned import cores
from image_core.images import to_eight_bit
from osediff_video.types import ImageArray

Flow = NDArray[np.float32]
"""(H, W, 2): for every pixel, by how many pixels right and down it is found in the other frame."""

Estimator = Callable[[ImageArray, ImageArray], Flow]
"""From every pixel of the first image to where it is in the second, in its pixels. Both (H, W, 3) of one dtype."""

SMOOTHING_PX = 0.75
MOST_PX, PART_PX, MARGIN_PX = 9_000_000, 1536, 192
ESTIMATOR_BYTES = 200
"""What the estimator takes for a pixel: 1.7 GB for 4K, which is looked at as a whole, and 6.4 GB for 8K."""

THREAD_CORES, MOST_FLOW_THREADS, THREADS_BYTES = 4, 8, 2 << 30
"""One pair is looked at for so many cores, as OpenCV uses several itself, up to so many, in so much memory."""

MOST_REMEMBERED = 3 * 1920 * 1080
"""Numbers of an image, all channels, up to which what was computed of it is kept for its other pair."""

DIS_LEAST_SIDE_PX = 16  # what the coarsest patch of the estimator needs
AGREEMENT_PX = 0.5
COARSE_PX = 4
SAME_LIGHT = 2 / 255
NOISE_TO_TAU = 3.0
SMALLEST_TAU, LARGEST_TAU = 10 / 255, 16 / 255  # less keeps what a codec makes flicker; more leaves ghosts


@dataclass(frozen=True)
class Motion:
    """Describe the motion from a frame back to the previous one, in input pixels.

    flow: (H, W, 2).
    confidence: (H, W) in [0, 1].
    """

    flow: Flow
    confidence: NDArray[np.float32]


def dis_flow(source: ImageArray, target: ImageArray) -> Flow:
    """Estimate motion by dense inverse search (Kroeger et al. 2016) on smoothed luma.

    An Estimator; zero below the size of its window.

    The fast preset with fewer patches and iterations, but down to single pixels: the presets stop at half the size or
    a quarter, where moving by less than a pixel goes unseen, and that cost sharpness (benchmarks/results).
    """
    if min(source.shape[:2]) < DIS_LEAST_SIDE_PX:
        return np.zeros((*source.shape[:2], 2), np.float32)
    return dis(threading.get_ident()).calc(prepared(source), prepared(target), None)


@functools.lru_cache(maxsize=8)
def dis(thread: int) -> cv2.DISOpticalFlow:  # noqa: ARG001 - it keeps its buffers, which two threads must not share
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    estimator.setFinestScale(0)
    estimator.setPatchStride(5)
    estimator.setGradientDescentIterations(8)
    estimator.setVariationalRefinementIterations(2)
    return estimator


def motion(previous: ImageArray, current: ImageArray, estimate: Estimator = dis_flow) -> Motion:
    """Return where each pixel of `current` was in `previous`; both (H, W, 3) of one dtype.

    Confidence falls with the disagreement e of forward and backward flow, exp(-e^2 / (2 0.5^2)), and with the largest
    colour difference d after a slight blur, exp(-(d / tau)^2 / 2); tau follows the noise, read off the median of what
    is fine in d. Where the light of the whole image changes, in a fade, it falls everywhere. It is zero where the
    other frame does not reach. Frames above nine million pixels are looked at in overlapping parts, for their memory.
    """
    height, width = current.shape[:2]
    if height * width <= MOST_PX:
        return motion_of_part(previous, current, estimate)
    flow, confidence = np.empty((height, width, 2), np.float32), np.empty((height, width), np.float32)
    for top in range(0, height, PART_PX):
        for left in range(0, width, PART_PX):
            first = max(0, top - MARGIN_PX), max(0, left - MARGIN_PX)
            ends = top + PART_PX + MARGIN_PX, left + PART_PX + MARGIN_PX
            seen = tuple(map(slice, first, ends))
            motion_here = motion_of_part(previous[seen], current[seen], estimate)
            part = slice(top, top + PART_PX), slice(left, left + PART_PX)
            rows, columns = top - first[0], left - first[1]
            inner = slice(rows, rows + PART_PX), slice(columns, columns + PART_PX)
            flow[part], confidence[part] = motion_here.flow[inner], motion_here.confidence[inner]
    return Motion(flow, confidence)


def motion_of_part(previous: ImageArray, current: ImageArray, estimate: Estimator) -> Motion:
    """Find the motion of all that is given at once; see `motion`."""
    backward, forward = estimate(current, previous), estimate(previous, current)
    place = positions(*current.shape[:2]) + backward
    agreement = remap(forward, place)
    del forward  # of a large frame every field takes hundreds of megabytes: none is kept longer than it is used
    agreement += backward
    agreement *= agreement
    error = agreement[..., 0] + agreement[..., 1]
    del agreement
    change = blurred(current) - remap(blurred(previous), place)
    coarse = cv2.GaussianBlur(change, (0, 0), COARSE_PX)
    noise = np.median(largest(change[::2, ::2] - coarse[::2, ::2]))
    light = np.abs(np.median(coarse[::4, ::4], axis=(0, 1))).max()
    tau = float(np.clip(NOISE_TO_TAU * noise, SMALLEST_TAU, LARGEST_TAU))
    del coarse
    difference = largest(change)
    del change
    height, width = current.shape[:2]
    inside = cv2.inRange(place, (0, 0), (width - 1, height - 1)) > 0
    del place
    difference /= tau
    difference *= difference
    doubt = error
    doubt /= AGREEMENT_PX**2
    doubt += difference
    doubt += (light / SAME_LIGHT) ** 2
    confidence = np.exp(-doubt / 2) * inside
    return Motion(backward, confidence.astype(np.float32))


def flow_threads(height: int, width: int) -> int:
    """Return how many pairs of so large images are looked at at once on this machine."""
    fitting = THREADS_BYTES // (ESTIMATOR_BYTES * max(1, min(height * width, MOST_PX)))
    return max(1, min(cores() // THREAD_CORES, MOST_FLOW_THREADS, fitting))


class Remembered:
    """Keep what was computed of the last few images: each is half of two pairs, and looked at from both sides in each.

    Known by identity, so of images that nobody changes. Those above `MOST_REMEMBERED` numbers are not kept, for their
    memory, and parts of images are new each time.
    """

    def __init__(self, compute: Callable[[ImageArray], NDArray[Any]]) -> None:
        self.compute = compute
        self.known: deque[tuple[ImageArray, NDArray[Any]]] = deque(maxlen=2 + flow_threads(0, 0))

    def __call__(self, image: ImageArray) -> NDArray[Any]:
        """Return what `compute` makes of the image; nobody may change it."""
        for seen, result in tuple(self.known):
            if seen is image:
                return result
        result = self.compute(image)
        if image.size <= MOST_REMEMBERED:
            self.known.append((image, result))
        return result


@Remembered
def prepared(image: ImageArray) -> NDArray[np.uint8]:
    """Return the luma, slightly smoothed against noise."""
    return cv2.GaussianBlur(cv2.cvtColor(to_eight_bit(image), cv2.COLOR_RGB2GRAY), (0, 0), SMOOTHING_PX)


@Remembered
def blurred(image: ImageArray) -> NDArray[np.float32]:
    """Blur an image with sigma 1 and scale it to [0, 1]."""
    values = image.astype(np.float32)
    values /= np.iinfo(image.dtype).max
    return cv2.GaussianBlur(values, (0, 0), 1)


def largest(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest absolute value over channels, (H, W, 3) to (H, W)."""
    planes = cv2.split(difference)
    for plane in planes:
        np.abs(plane, out=plane)
    return functools.reduce(cv2.max, planes)


@functools.lru_cache(maxsize=4)
def positions(height: int, width: int) -> NDArray[np.float32]:
    """Return the column and row of every pixel, (H, W, 2)."""
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return np.stack(np.meshgrid(columns, rows), -1)


def warp(image: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Return what `image` (H, W) or (H, W, C) shows at each pixel moved by `flow`.

    Interpolation is bicubic; outside, the border is repeated.
    """
    return remap(image, positions(*flow.shape[:2]) + flow)


def warp_rows(image: NDArray[np.float32], flow: Flow, rows: slice) -> NDArray[np.float32]:
    """Return the same for some rows alone. flow: of the whole image."""
    height, width = rows.stop - rows.start, flow.shape[1]
    place = positions(height, width) + np.array((0, rows.start), np.float32)
    place += flow[rows]
    return remap(image, place)


def remap(image: NDArray[np.float32], place: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sample `image` at each `place` (H, W, 2), column and row."""
    return cv2.remap(image, place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def enlarged(coarse: Motion, height: int, width: int) -> Motion:
    """Return the same motion on a grid of `height` x `width`, in its pixels."""
    if coarse.flow.shape[:2] == (height, width):
        return coarse
    flow, confidence = (
        cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        for field in (in_pixels(coarse.flow, height, width), coarse.confidence)
    )
    return Motion(flow, confidence)


def in_pixels(flow: Flow, height: int, width: int) -> Flow:
    """Return a flow on its own grid, but in the pixels of one of `height` x `width`."""
    rows, columns = flow.shape[:2]
    return flow * np.array((width / columns, height / rows), np.float32)
