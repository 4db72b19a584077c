"""Measure how crisp and how straight contours are: the first thing that breaks where a codec's blocks are enlarged.

Along strong contours of the reference, profiles of the result are read across the contour. The place of its edge in
each profile, against the place in the reference, should be the same for neighbours: staircases and frays make it jump.
The width of the edge is compared with the reference's.
"""

from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.metrics.image import Luma, luma
from osediff_video.types import ImageArray

REACH_PX, STEP_PX = 5.0, 0.5
"""How far a profile reaches to both sides of the contour, and the distance of its values."""

ALONG_PX = 9
"""Profiles are read at every pixel of the tangent, so many to both sides."""

LEAST_SLOPE = 12.0
"""Levels per pixel of a contour, after a blur of 1 px."""

LEAST_COHERENCE = 0.8
MOST_CONTOURS = 1500
MOST_BEND_PX = 0.15
"""Deviation of the reference's own edge from a straight line: what bends more, or ends, is left out.

With a bound of 1 px texture counts as contours, and a blur has the straightest of all.
"""


class Contours(NamedTuple):
    """Hold points on straight contours. points: (N, 2), x and y. normals: (N, 2), unit, towards the brighter side."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]


class ContourScore(NamedTuple):
    """Hold what the contours of a result are like.

    jitter_px: mean deviation of the place of an edge among neighbours, against the reference's. 0 is straight.
    width: of the edges relative to the reference's. 1 is as crisp, above 1 is softer. compared: number of contours.
    """

    jitter_px: float
    width: float
    compared: int


def straight_contours(reference: Luma, count: int = MOST_CONTOURS) -> Contours:
    """Find points on strong contours with one clear direction, `count` at most, spread evenly over the strongest."""
    smooth = cv2.GaussianBlur(reference, (0, 0), 1.0)
    across, down = np.gradient(smooth, axis=1), np.gradient(smooth, axis=0)
    slope = np.hypot(across, down)
    xx, yy, xy = (cv2.GaussianBlur(product, (0, 0), 2.5) for product in (across**2, down**2, across * down))
    coherence = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-9)
    ridge = slope >= cv2.dilate(slope, np.ones((3, 3), np.uint8)) * 0.98
    chosen = ridge & (slope > LEAST_SLOPE) & (coherence > LEAST_COHERENCE)
    border = int(np.ceil(REACH_PX + ALONG_PX))
    chosen[:border], chosen[-border:], chosen[:, :border], chosen[:, -border:] = False, False, False, False
    rows, columns = np.nonzero(chosen)
    if len(rows) > count:
        kept = np.linspace(0, len(rows) - 1, count).astype(int)
        rows, columns = rows[kept], columns[kept]
    normals = np.stack([across[rows, columns], down[rows, columns]], -1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return Contours(np.stack([columns, rows], -1).astype(np.float64), normals)


def edges_across(image: Luma, contours: Contours) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return place and width in pixels of the edge in each profile, each (N, 2 ALONG_PX + 1).

    Both are moments of the rising part of the profile's slope: a soft edge is wide and stays in its place.
    """
    offsets = np.arange(-REACH_PX, REACH_PX + STEP_PX / 2, STEP_PX)
    steps = np.arange(-ALONG_PX, ALONG_PX + 1)
    tangents = np.stack([-contours.normals[:, 1], contours.normals[:, 0]], -1)
    starts = contours.points[:, None] + steps[None, :, None] * tangents[:, None]
    places = (starts[:, :, None] + offsets[None, None, :, None] * contours.normals[:, None, None]).astype(np.float32)
    flat = places.reshape(len(places), -1, 2)
    values = cv2.remap(image.astype(np.float32), flat[..., 0], flat[..., 1], cv2.INTER_LINEAR)
    profiles = values.reshape(places.shape[:3]).astype(np.float64)
    rise = np.maximum(np.diff(profiles, axis=2), 0) ** 2  # squared, so that grain beside the edge counts little
    middles = (offsets[1:] + offsets[:-1]) / 2
    total = np.maximum(rise.sum(2), 1e-9)
    place = (rise * middles).sum(2) / total
    width = np.sqrt((rise * (middles - place[..., None]) ** 2).sum(2) / total)
    return place, width


def contour_score(result: ImageArray, reference: ImageArray) -> ContourScore | None:
    """Compare the contours of a result with those of its reference; None where the reference has none.

    Both (H, W, 3) uint8. Raises ValueError when the shapes differ.
    """
    if result.shape != reference.shape:
        raise ValueError(f"result and reference must match, got {result.shape} and {reference.shape}")
    truth, image = luma(reference), luma(result)
    contours = straight_contours(truth)
    if not len(contours.points):
        return None
    place, width = edges_across(truth, contours)
    straight = bend(place) < MOST_BEND_PX
    if not straight.any():
        return None
    other, other_width = edges_across(image, Contours(contours.points[straight], contours.normals[straight]))
    moved = other - place[straight]
    jitter = float((moved - moved.mean(1, keepdims=True)).std(1).mean())
    ratio = float(np.median(other_width) / max(float(np.median(width[straight])), 0.1))
    return ContourScore(jitter, ratio, int(straight.sum()))


def bend(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each row, (N, M), from the straight line that fits it best. Shape (N,)."""
    steps = np.arange(places.shape[1]) - (places.shape[1] - 1) / 2
    centred = places - places.mean(1, keepdims=True)
    slopes = centred @ steps / (steps @ steps)
    return cast(NDArray[np.float64], (centred - slopes[:, None] * steps).std(1))
