"""Draw line art and pages of text, for which no file is needed: sharp, by other code than training's."""

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from image_core.images import ImageArray

FINE = 4
"""Drawn so many times larger and made small by area, so that contours are smooth."""

LINES = (
    "The quick brown fox",
    "jumps over 13 lazy dogs.",
    "Total: 4,827.50 EUR (19 %)",
    "if (x < 0) return {};",
    "PLATFORM 9 - DEPARTURES",
    "Ingredients: water, salt",
)
INKS = (((250, 250, 248), (20, 20, 24)), ((24, 26, 34), (235, 235, 220)), ((245, 230, 190), (150, 20, 30)))


def text_page(number: int, side_px: int) -> ImageArray:
    """Return a page of lines of growing size, in the ink and on the paper of its number."""
    rng = np.random.default_rng((2026, number))
    paper, ink = INKS[number % len(INKS)]
    page = Pillow.new("RGB", (side_px * FINE, side_px * FINE), paper)
    draw, top, size = ImageDraw.Draw(page), 6 * FINE, 12
    while top < side_px * FINE:
        font = ImageFont.load_default(size * FINE)
        draw.text((8 * FINE, top), LINES[int(rng.integers(len(LINES)))], ink, font)
        top, size = top + round(1.4 * size * FINE), size + 3
    return shrunk(np.asarray(page))


def line_art(number: int, side_px: int) -> ImageArray:
    """Return ink drawings: circles, fans of lines, curves and hatching, with some flat colours."""
    rng = np.random.default_rng((2027, number))
    side = side_px * FINE
    page = np.full((side, side, 3), 247, np.uint8)
    for _ in range(5):
        centre, radius = rng.integers(0, side, 2), int(rng.integers(side // 12, side // 4))
        colour = tuple(int(level) for level in rng.integers(90, 240, 3))
        cv2.circle(page, centre.tolist(), radius, colour, -1, cv2.LINE_AA)
        cv2.circle(page, centre.tolist(), radius, (15, 15, 20), FINE * int(rng.integers(1, 4)), cv2.LINE_AA)
    root = rng.integers(0, side, 2)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        end = (root + side / 3 * np.array([np.cos(angle), np.sin(angle)])).astype(int)
        cv2.line(page, root.tolist(), end.tolist(), (20, 20, 60), round(1.2 * FINE), cv2.LINE_AA)
    for _ in range(6):
        t = np.linspace(0, 1, 200)[:, None]
        a, b, c = rng.integers(-side // 4, side + side // 4, (3, 2))
        curve = ((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).astype(np.int32)
        cv2.polylines(page, [curve], False, (25, 20, 20), FINE * int(rng.integers(1, 4)), cv2.LINE_AA)
    return shrunk(page)


def shrunk(page: ImageArray) -> ImageArray:
    size = (page.shape[1] // FINE, page.shape[0] // FINE)
    return cv2.resize(page, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
