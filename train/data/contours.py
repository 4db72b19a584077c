"""Draw contours: edges, wires, rings, lattices and letters, on plain ground or over a photograph.

What breaks first on its way through a codec is what is thin, straight or evenly curved, and photographs hold little of
it. It is computed with its coverage of each pixel, so edges are as smooth as a good camera's.
"""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from train.data.drawings import LETTERS, draw_colour, drawing, ground

Image8 = NDArray[np.uint8]
Coverage = NDArray[np.float32]
"""(H, W) in [0, 1]: how much of each pixel is painted."""

Grid = NDArray[np.floating]
"""A coordinate or a distance at each pixel, (H, W)."""

LEAST_PERIOD_PX = 8  # two pixels of an image a quarter as large: finer stripes cannot be seen there
TEXT_FINER = 2


def contour_page(size: int, rng: Generator, lattices: float = 0.0) -> Image8:
    """Return a page without a photograph, (size, size, 3) RGB: half of them drawings, all with contours."""
    if rng.random() < 0.5:
        return with_contours(drawing(size, rng), rng, int(rng.integers(0, 3)), lattices)
    palette = [draw_colour(rng) for _ in range(3)]
    return with_contours(ground(size, rng, palette), rng, int(rng.integers(2, 6)), lattices)


def with_contours(image: Image8, rng: Generator, count: int, lattices: float = 0.0) -> Image8:
    """Paint `count` layers of stripes, edges or letters over a square image. lattices: their share among the lines."""
    page = image.astype(np.float32)
    for _ in range(count):
        colour = draw_ink(image, rng)
        if rng.random() < 0.4:
            page = paint(page, *lettering(len(page), rng, colour))
            continue
        cover = (lattice if lattices and rng.random() < lattices else stripes)(len(page), rng)
        if rng.random() < 0.6:
            cover = cover * patch(len(page), rng)
        page = paint(page, cover * np.float32(rng.uniform(0.4, 1)), colour)
    return np.rint(np.clip(page, 0, 255)).astype(np.uint8)


def draw_ink(image: Image8, rng: Generator) -> NDArray[np.float32]:
    """Draw a colour: half the time any, else one of the image, darker or brighter, as shadows and lit objects are."""
    if rng.random() < 0.5:
        return np.array(draw_colour(rng), np.float32)
    colour = image[tuple(rng.integers(0, side) for side in image.shape[:2])].astype(np.float32)
    end = np.float32(0 if rng.random() < 0.5 else 255)
    return colour + np.float32(rng.uniform(0.2, 0.8)) * (end - colour)


def paint(page: NDArray[np.float32], cover: Coverage, colour: NDArray[np.float32]) -> NDArray[np.float32]:
    return page + cover[..., None] * (colour - page)


def stripes(size: int, rng: Generator) -> Coverage:
    """Draw parallel lines: straight, bowed, or rings around a centre; from fine grids up to a single edge or wire."""
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    angle, bow = rng.uniform(0, np.pi), rng.normal() * 0.4 / size
    along, across = turned(x, y, angle)
    kind = rng.random()
    if kind < 0.25:
        centre = rng.uniform(-size, size, 2)
        distance = np.hypot(x - centre[0], y - centre[1])
    else:
        distance = across + (bow * along**2 if kind < 0.55 else 0)
    period = LEAST_PERIOD_PX * (size / LEAST_PERIOD_PX) ** rng.random()
    width = max(1.0, min(period * rng.uniform(0.1, 0.6), 2 * 60 ** rng.random()))
    return bars(distance, period, width, rng)


def lattice(size: int, rng: Generator) -> Coverage:
    """Draw bars that cross at right angles, as in windows and fences: most upright, half of them in perspective."""
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32(size / 2)
    angle = rng.normal() * 0.1 if rng.random() < 0.7 else rng.uniform(0, np.pi)
    tilt = rng.uniform(-0.6, 0.6, 2) / size if rng.random() < 0.5 else np.zeros(2)
    depth = 1 + tilt[0] * x + tilt[1] * y
    period = LEAST_PERIOD_PX * (size / 3 / LEAST_PERIOD_PX) ** rng.random()
    width = max(1.0, min(period * rng.uniform(0.08, 0.3), 12))
    cover = np.zeros((size, size), np.float32)
    for across in turned(x, y, angle):
        own = period * (1 if rng.random() < 0.5 else rng.uniform(1, 3))
        cover = np.maximum(cover, bars(across / depth, own, width, rng))
    return cover


def turned(x: Grid, y: Grid, angle: float) -> tuple[Grid, Grid]:
    """Return the coordinates along an angle and across it."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def bars(distance: Grid, period: float, width: float, rng: Generator) -> Coverage:
    """Paint where the distance, in pixels, is within half a width of a multiple of the period, somehow moved."""
    slope = np.maximum(np.hypot(*np.gradient(distance)), 0.1)
    offset = (distance + rng.uniform(0, period)) % period - period / 2
    # the distance to the edge in pixels, over one pixel of slope: the share of the pixel that is painted
    cover = np.clip((width / 2 - np.abs(offset)) / slope + 0.5, 0, 1)
    return cover.astype(np.float32)


def patch(size: int, rng: Generator) -> Coverage:
    """Draw a polygon of three to six corners with smooth edges."""
    corners = rng.uniform(-0.1, 1.1, (int(rng.integers(3, 7)), 2)) * size
    hull = cv2.convexHull(corners.astype(np.float32))
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.rint(hull * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / np.float32(255)


def lettering(size: int, rng: Generator, colour: NDArray[np.float32]) -> tuple[Coverage, NDArray[np.float32]]:
    """Write some lines of letters, straight or turned, some with an outline as subtitles have it.

    Returns what they cover, and their colour, for each pixel where there is an outline.
    """
    edge = TEXT_FINER * size
    fill, outline = Image.new("L", (edge, edge)), Image.new("L", (edge, edge))
    height = TEXT_FINER * 8 * 9 ** rng.random()
    font = ImageFont.load_default(height)
    bold = round(height * rng.uniform(0, 0.06))
    rim = bold + max(1, round(height * rng.uniform(0.03, 0.1))) if rng.random() < 0.4 else 0
    left, top = rng.uniform(-0.1, 0.5) * edge, rng.uniform(0, 0.9) * edge
    for _ in range(rng.integers(1, 8)):
        words = "".join(rng.choice(list(LETTERS), int(rng.integers(3, 40))))
        ImageDraw.Draw(fill).text((left, top), words, 255, font, stroke_width=bold)
        if rim:
            ImageDraw.Draw(outline).text((left, top), words, 255, font, stroke_width=rim)
        top += 1.3 * height
    if rng.random() < 0.3:
        angle = float(rng.uniform(-90, 90))
        fill, outline = (layer.rotate(angle, Image.Resampling.BICUBIC) for layer in (fill, outline))
    inner, outer = (
        cv2.resize(np.asarray(layer, np.float32) / np.float32(255), (size, size), interpolation=cv2.INTER_AREA)
        for layer in (fill, outline)
    )
    cover = np.maximum(inner, outer)
    dark = colour.mean() > 127
    rim_colour = np.full(3, 0 if dark else 255, np.float32)
    share = (inner / np.maximum(cover, 1e-6))[..., None]
    return cover, share * colour + (1 - share) * rim_colour
