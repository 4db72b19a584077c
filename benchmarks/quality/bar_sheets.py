"""Lay crops of all methods side by side, for the eye: the whole crop 1:1, and its middle 2:1 below."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from image_core.images import ImageArray

MOST_ROWS = 4
LABEL_PX = 18


def labelled(image: ImageArray, name: str) -> ImageArray:
    strip = np.full((LABEL_PX, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, name, (3, LABEL_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, image])


def row(results: Mapping[str, ImageArray]) -> ImageArray:
    """Return one sample: above at 1:1, below the middle at 2:1, each with its method's name."""
    tiles = []
    for name, image in results.items():
        side = min(image.shape[:2]) // 4 * 4
        top, left = ((length - side // 2) // 2 for length in image.shape[:2])
        middle = image[top : top + side // 2, left : left + side // 2]
        twice = np.repeat(np.repeat(middle, 2, 0), 2, 1)
        tiles.append(labelled(np.vstack([image[:side, :side], twice]), name))
    return np.hstack(tiles)


def write_sheet(rows: Sequence[ImageArray], path: Path) -> None:
    """Write the first few rows below each other as one JPEG."""
    shown = rows[:MOST_ROWS]
    width = max(image.shape[1] for image in shown)
    filled = [np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255) for image in shown]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(filled)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
