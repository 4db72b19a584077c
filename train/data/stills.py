"""Make a clip of one image: a virtual camera that pans, zooms and turns over it, by fractions of a pixel.

For temporal training where no video is at hand: motion is known, free of noise and of codec artefacts.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Affine = NDArray[np.float64]
"""(2, 3): where in the image (x, y) a pixel (x, y, 1) of the frame is looked up; pixel centres are whole numbers."""

MOST_PIXELS_PER_PIXEL = 1.5
ROOM_TAKEN = 0.85  # of the shorter side; the rest is for moving
SUPERSAMPLING = 1.5  # as fine as the image where it is shown smallest: nothing can alias


@dataclass(frozen=True)
class CameraMotion:
    """Bound the motion of the camera.

    The largest of each, a frame: pan in pixels, zoom as a factor, turn in degrees. bend: share that may change.
    """

    pan_px: float = 6.0
    zoom: float = 0.01
    turn_deg: float = 0.6
    bend: float = 0.3


def still_clip(image: NDArray[np.uint8], frames: int, size: int, rng: Generator) -> NDArray[np.uint8]:
    """Return (frames, size, size, 3) out of (H, W, 3) with sides of `size` or more; else raises ValueError."""
    path = camera_path(image.shape[0], image.shape[1], frames, size, rng)
    return np.stack([look(image, view, size) for view in path])


def camera_path(
    height: int, width: int, frames: int, size: int, rng: Generator, motion: CameraMotion | None = None
) -> list[Affine]:
    """Draw one view for each frame, all of them inside the image: smooth, along a parabola.

    Frames show the image smaller than it is, down to two thirds where there is room, so they are as sharp as it is;
    only of an image hardly larger than they are, they show a part enlarged by up to 18 %, to have room to move. A path
    that does not fit is walked more slowly.
    """
    if min(height, width) < size:
        raise ValueError(f"a {width} x {height} image is smaller than the {size} x {size} frames wanted of it")
    motion = motion or CameraMotion()
    most = min(MOST_PIXELS_PER_PIXEL, ROOM_TAKEN * min(height, width) / size)
    density = rng.uniform(min(1.0, most), most)
    heading, speed = rng.uniform(-math.pi, math.pi), motion.pan_px * rng.random() ** 2  # slow is the usual case
    rates = np.array(
        [
            speed * math.cos(heading) * density,
            speed * math.sin(heading) * density,
            rng.uniform(-1, 1) * math.log1p(motion.zoom),
            rng.uniform(-1, 1) * math.radians(motion.turn_deg),
        ]
    )
    bends = rates * rng.uniform(-motion.bend, motion.bend, 4)
    where = rng.random(2)
    time = np.arange(frames) - (frames - 1) / 2
    for slowness in range(8):
        walked = 0.5**slowness * (np.outer(time, rates) + np.outer(time**2 / max(1, frames - 1), bends))
        views = [view(size, density * math.exp(zoom), turn, (x, y)) for x, y, zoom, turn in walked]
        placed = place(views, height, width, size, where)
        if placed is not None:
            return placed
    raise AssertionError("a camera that all but stands did not fit")


def view(size: int, density: float, turn: float, centre: tuple[float, float]) -> Affine:
    """Describe one view of the image.

    density: pixels of the image for one of the frame. turn: radians. centre: where the frame's middle looks.
    """
    cos, sin, middle = density * math.cos(turn), density * math.sin(turn), (size - 1) / 2
    turned = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([turned, np.array(centre) - turned @ (middle, middle)])


def place(views: list[Affine], height: int, width: int, size: int, where: NDArray[np.float64]) -> list[Affine] | None:
    """Move the views together to the share `where` of the room they have in the image; None if they have none."""
    corners = np.array([(x, y, 1) for x in (0, size - 1) for y in (0, size - 1)]).T
    seen = np.concatenate([v @ corners for v in views], axis=1)
    low, high = -seen.min(1), np.array([width - 1, height - 1]) - seen.max(1)
    if (high < low - 1e-9).any():
        return None
    return [v + np.column_stack([np.zeros((2, 2)), low + where * (high - low)]) for v in views]


def look(image: NDArray[np.uint8], seen: Affine, size: int) -> NDArray[np.uint8]:
    """Return the frame (size, size, 3) that one view shows.

    Looked up more densely with an eight-tap Lanczos kernel, then made smaller with PIL's: neither aliases nor softens,
    and is exact to a fraction of a pixel.
    """
    edge = math.ceil(size * SUPERSAMPLING)
    ratio = edge / size
    fine = seen.copy()
    # the centre of fine pixel i is at (i + 1/2) / ratio - 1/2 of the frame's
    fine[:, 2] += seen[:, :2] @ np.full(2, (1 - ratio) / 2 / ratio)
    fine[:, :2] /= ratio
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(image, fine, (edge, edge), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(Image.fromarray(large).resize((size, size), Image.Resampling.LANCZOS))
