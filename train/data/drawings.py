"""Generate drawings: flat areas, outlines, curves and text, of which cartoons and screens are made.

Training on them keeps edges of line art and letters free of halos.
"""

import string

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Canvas = NDArray[np.uint8]
Colour = tuple[int, ...]

FINER = 2  # drawn so many times larger, then averaged: smooth edges at fractions of a pixel
LETTERS = string.ascii_letters + string.digits + string.punctuation + " " * 12
FRACTION_BITS = 4


def drawing(size: int, rng: Generator) -> NDArray[np.uint8]:
    """Return (size, size, 3) RGB: a few shapes on a plain or shaded ground, lines over them, and often text."""
    edge = size * FINER
    palette = [draw_colour(rng) for _ in range(rng.integers(2, 7))]
    canvas = ground(edge, rng, palette)
    for _ in range(rng.integers(1, 9)):
        add_shape(canvas, rng, palette)
    for _ in range(rng.integers(0, 9)):
        add_curve(canvas, rng, palette)
    if rng.random() < 0.6:
        canvas = with_text(canvas, rng, palette)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def draw_colour(rng: Generator) -> Colour:
    """Draw a colour; ink and paper as often as any other."""
    kind = rng.random()
    if kind < 0.5:
        level = int(rng.integers(0, 40) if kind < 0.25 else rng.integers(215, 256))
        return (level, level, level)
    return tuple(int(value) for value in rng.integers(0, 256, 3))


def pick(palette: list[Colour], rng: Generator) -> Colour:
    return palette[rng.integers(len(palette))]


def ground(edge: int, rng: Generator, palette: list[Colour]) -> Canvas:
    first, second = (np.array(pick(palette, rng), np.float32) for _ in range(2))
    if rng.random() < 0.5:
        second = first
    slope = np.linspace(0, 1, edge, dtype=np.float32)[:, None, None]
    shaded = np.broadcast_to(first + slope * (second - first), (edge, edge, 3))
    turned = np.rot90(shaded, int(rng.integers(4)))
    return np.ascontiguousarray(np.rint(turned).astype(np.uint8))


def points(edge: int, count: int, rng: Generator) -> NDArray[np.int32]:
    """Draw points around one place, (1, count, 2), in fractions of a pixel."""
    centre, spread = rng.uniform(0, edge, 2), edge * rng.uniform(0.05, 0.5)
    return np.rint((centre + rng.uniform(-spread, spread, (count, 2))) * 2**FRACTION_BITS).astype(np.int32)[None]


def add_shape(canvas: Canvas, rng: Generator, palette: list[Colour]) -> None:
    """Add a filled polygon or ellipse, half of them with an outline as cartoons have it."""
    edge = canvas.shape[0]
    width = thickness(rng)
    if rng.random() < 0.5:
        corners = points(edge, int(rng.integers(3, 7)), rng)
        cv2.fillPoly(canvas, list(corners), pick(palette, rng), cv2.LINE_AA, FRACTION_BITS)
        if rng.random() < 0.5:
            cv2.polylines(canvas, list(corners), True, pick(palette, rng), width, cv2.LINE_AA, FRACTION_BITS)
        return
    centre, turn = rng.integers(0, edge, 2).tolist(), float(rng.uniform(0, 180))
    axes = rng.integers(2, max(3, edge // 3), 2).tolist()
    cv2.ellipse(canvas, centre, axes, turn, 0, 360, pick(palette, rng), cv2.FILLED, cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.ellipse(canvas, centre, axes, turn, 0, 360, pick(palette, rng), width, cv2.LINE_AA)


def add_curve(canvas: Canvas, rng: Generator, palette: list[Colour]) -> None:
    """Add a line, or a smooth walk through a few points."""
    edge = canvas.shape[0]
    walk = points(edge, int(rng.integers(2, 6)), rng)[0].astype(np.float32)
    steps = np.linspace(0, len(walk) - 1, 24)
    path = np.stack([np.interp(steps, np.arange(len(walk)), walk[:, axis]) for axis in (0, 1)], axis=-1)
    smooth = cv2.blur(path, (1, int(rng.choice((1, 7)))), borderType=cv2.BORDER_REPLICATE)
    line = np.rint(smooth).astype(np.int32)[None]
    cv2.polylines(canvas, list(line), False, pick(palette, rng), thickness(rng), cv2.LINE_AA, FRACTION_BITS)


def thickness(rng: Generator) -> int:
    """Draw the thickness of a line on the canvas: half a pixel of the drawing up to six, thin ones more often."""
    return int(np.rint(FINER * 0.5 * 12 ** rng.random()))


def with_text(canvas: Canvas, rng: Generator, palette: list[Colour]) -> Canvas:
    """Add lines of letters, from those hardly read to headlines."""
    edge = canvas.shape[0]
    size = FINER * 6 * 8 ** rng.random()
    font = ImageFont.load_default(size)
    page = Image.fromarray(canvas)
    pen = ImageDraw.Draw(page)
    ink = pick(palette, rng)
    left, top = rng.uniform(-0.2, 0.6, 2) * edge
    for _ in range(rng.integers(1, 7)):
        words = "".join(rng.choice(list(LETTERS), int(rng.integers(2, 30))))
        pen.text((left, top), words, fill=ink, font=font)
        top += 1.3 * size
    return np.asarray(page)
