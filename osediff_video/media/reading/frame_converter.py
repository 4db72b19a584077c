"""Convert decoded frames to RGB, each by its own tags, also where these change in mid-video."""

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple, cast

import numpy as np
from av.video.frame import VideoFrame

from image_core.errors import MediaError
from osediff_video.media.aspects import Aspects
from osediff_video.media.color import ColorConverter
from osediff_video.media.extras import CAPTIONS, captions_of, extras_of
from osediff_video.media.probe import color_tags, is_transparent
from osediff_video.types import ColorTags, Faults, Frame, ImageArray, Plane, VideoInfo


class Properties(NamedTuple):
    """Hold what a frame says of itself."""

    size: str
    pixel_format: str
    color: tuple[int, bool]
    """Matrix and full range."""

    aspect: Fraction | None
    """Width of a pixel divided by its height, in the bitstream."""


WORDS = {
    "size": "size",
    "pixel_format": "pixel format",
    "color": "matrix or range of colours",
    "aspect": "pixel aspect",
}


class FrameConverter:
    """Convert the frames of one video to RGB of one size and depth.

    A frame of another size keeps its aspect within the size of the first, on black. faults: filled with a sentence for
    the first frame at which a property changes. strict: such a change is an error. aspects: of the pixels, as far
    as the stream was decoded.
    """

    def __init__(self, info: VideoInfo, faults: Faults, strict: bool, aspects: Aspects) -> None:
        self.info, self.faults, self.strict, self.aspects = info, faults, strict, aspects
        self.converters: dict[tuple[int, bool], ColorConverter] = {}
        self.first: Properties | None = None
        self.last: VideoFrame | None = None
        self.changed: set[str] = set()

    def __call__(self, frame: VideoFrame, pts: int, duration: int) -> Frame:
        """Return the frame as ours. Raises MediaError for a change where nothing may be lost."""
        info = self.info
        tags = color_tags(frame, float(info.frame_rate))
        if tags.guessed:
            tags = replace(tags, matrix=info.color.matrix)
        size, aspect = f"{frame.width} x {frame.height}", self.aspects.at(pts)
        self.watch(Properties(size, frame.format.name, (tags.matrix, tags.full_range), aspect), pts)
        image, alpha = self.to_rgb(frame, tags, pts)
        alpha = None if alpha is None else info.orientation(alpha)
        # a good frame that stands in for a damaged one must not repeat its text
        captions = b"" if frame is self.last else captions_of(frame)
        self.last = frame
        self.watch_extras(frame, pts)
        return Frame(info.orientation(image), pts, duration, alpha, captions=captions)

    def watch(self, now: Properties, pts: int) -> None:
        """Note a property that is not as in the first frame, once for each."""
        self.first = self.first or now
        for name, before, after in zip(now._fields, self.first, now, strict=True):
            if before == after or name in self.changed:
                continue
            self.changed.add(name)
            words = WORDS[name]
            values = "" if name == "color" else f" from {before} to {after}"
            self.note(f"the {words} changes{values}", pts)

    def watch_extras(self, frame: VideoFrame, pts: int) -> None:
        """Note what begins after the frames that the plan was made of; captions are carried or were looked for."""
        for name in sorted(extras_of(frame) - {CAPTIONS, *self.info.extras} - self.changed):
            self.changed.add(name)
            self.note(f"{name} begins, which is left out", pts)

    def note(self, what: str, pts: int) -> None:
        """Add a sentence to the faults. Raises MediaError where nothing may be lost."""
        sentence = f"{what} at {float(pts * self.info.time_base):.2f} s"
        if self.strict:
            raise MediaError(f"{self.info.path}: {sentence}; with --strict nothing may be lost")
        self.faults.changes.append(sentence)

    def to_rgb(self, frame: VideoFrame, tags: ColorTags, pts: int) -> tuple[ImageArray, Plane | None]:
        """Return image and alpha in the coded orientation."""
        info = self.info
        width, height = (info.height, info.width) if info.orientation.transpose else (info.width, info.height)
        converter = self.converters.setdefault((tags.matrix, tags.full_range), ColorConverter(tags))
        deep = info.bit_depth > 8
        first, now = self.first.aspect if self.first else None, self.aspects.at(pts)
        wide = Fraction(frame.width) * (now / first if now and first else 1)  # in pixels of the first frame's aspect
        factor = min(width / wide, Fraction(height, frame.height))
        inner_width, inner_height = round(wide * factor), round(frame.height * factor)
        image, alpha = converter.to_rgb(frame, inner_width, inner_height, deep, info.alpha)
        if not info.alpha and "transparency" not in self.changed and is_transparent(frame):
            self.changed.add("transparency")
            self.note("transparency begins and is lost", pts)
        if (inner_width, inner_height) == (width, height):
            return image, alpha
        top, left = (height - inner_height) // 2, (width - inner_width) // 2
        margins = ((top, height - inner_height - top), (left, width - inner_width - left))
        framed = cast(ImageArray, np.pad(image, (*margins, (0, 0))))
        return framed, None if alpha is None else cast(Plane, np.pad(alpha, margins))
