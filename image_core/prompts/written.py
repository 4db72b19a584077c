"""Read what is written in an image, with PP-OCR's networks, which the package rapidocr carries (extra `ocr`)."""

from functools import cache
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from image_core.errors import ModelNotFoundError
from image_core.images import ImageArray

LEAST_SURE = 0.5
"""Of a recognised line, 0 to 1; what is less sure counts as no text."""

LEAST_SIDE_PX = 8
MOST_SIGNS = 80
"""Of what is written, in a prompt."""


class Line(NamedTuple):
    """Hold one line of text. box: top, left, bottom, right in pixels."""

    text: str
    box: tuple[int, int, int, int]

    @property
    def height(self) -> int:
        return self.box[2] - self.box[0]


class Reader(Protocol):
    """Find and recognise text in images (H, W, 3) of uint8, RGB."""

    def lines(self, image: ImageArray) -> list[Line]:
        """Return the lines that are written in an image, from top to bottom."""

    def recognised(self, image: ImageArray, box: tuple[int, int, int, int]) -> str:
        """Return what is written in one place of an image, "" where nothing can be read."""


class PaddleReader:
    """Read with the networks that rapidocr carries: PP-OCR for Chinese and English, on the CPU, in one thread."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def lines(self, image: ImageArray) -> list[Line]:
        if min(image.shape[:2]) < LEAST_SIDE_PX:
            return []
        found = self.engine(reversed_channels(image), use_det=True, use_cls=False, use_rec=False)
        if found.boxes is None:
            return []
        boxes = [around(corners, image.shape[0], image.shape[1]) for corners in found.boxes]
        read = [Line(self.recognised(image, box), box) for box in sorted(boxes)]
        return [line for line in read if line.text]

    def recognised(self, image: ImageArray, box: tuple[int, int, int, int]) -> str:
        top, left, bottom, right = box
        part = reversed_channels(image[top:bottom, left:right])
        found = self.engine(part, use_det=False, use_cls=False, use_rec=True)
        if not found.txts or found.scores[0] < LEAST_SURE:
            return ""
        return str(found.txts[0]).strip()


def reversed_channels(image: ImageArray) -> ImageArray:
    """Return BGR, in which order the networks were trained."""
    return cast(ImageArray, np.ascontiguousarray(image[..., ::-1]))


def around(corners: NDArray[Any], height: int, width: int) -> tuple[int, int, int, int]:
    """Return the upright box around four corners (x, y), within the image."""
    left, top = np.floor(corners.min(0)).astype(int)
    right, bottom = np.ceil(corners.max(0)).astype(int)
    return max(0, int(top)), max(0, int(left)), min(height, int(bottom)), min(width, int(right))


@cache
def load_reader() -> Reader:
    """Load the networks once. Raises ModelNotFoundError where the package is missing or carries none."""
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise ModelNotFoundError(
            f"reading text needs rapidocr and onnxruntime ({error}); pip install 'osediff-video[ocr]'"
        ) from error
    settings = {"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
    return PaddleReader(RapidOCR(params=settings))


def said_of(lines: list[Line]) -> list[str]:
    """Return what a prompt says of lines of text, as one more tag; nothing where there are none.

    A model reads 77 tokens: of a page of text the largest lines are taken, in their order.
    """
    room, kept = MOST_SIGNS, list[int]()
    for number in sorted(range(len(lines)), key=lambda number: lines[number].height, reverse=True):
        room -= len(lines[number].text)
        if kept and room < 0:
            break
        kept.append(number)
    words = " ".join(lines[number].text for number in sorted(kept))[:MOST_SIGNS]
    return [f'the words "{words}"'] if words else []
