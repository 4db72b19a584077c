"""Read a folder of frames as a source."""

import itertools
import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np

from image_core.errors import ImageError, MediaError
from image_core.images import enlarge, enlarge_plane, to_eight_bit
from osediff_video.images.image_file import read_image
from osediff_video.sources.frame_headers import FrameHeader, main_size, named, read_header
from osediff_video.suffixes import IMAGES, frame_name, is_image, is_pattern, numbered, unreadable
from osediff_video.types import Bookmark, ColorTags, Faults, Frame, ImageArray, Plane, VideoInfo

SRGB = ColorTags(matrix=0, primaries=1, transfer=13, full_range=True)


def natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Return a sort key by which frame2 comes before frame10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]


def is_visible_image(path: Path) -> bool:
    """Return whether a file is an image by its name; hidden ones are other programs' notes, such as ._0001.png."""
    return is_image(path) and not path.name.startswith(".")


def is_sequence(path: Path) -> bool:
    """Return whether a path stands for a sequence of frames: a folder, or a pattern such as in/%06d.png."""
    return path.is_dir() or is_pattern(path)


def list_frames(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order, or those of a pattern such as in/%06d.png by their numbers.

    Raises MediaError when there are none.
    """
    if is_pattern(folder):
        if paths := numbered(folder):
            return paths
        raise MediaError(f"{folder}: no frames of this pattern; expected names such as {frame_name(folder.name, 1)}")
    paths = sorted((p for p in folder.iterdir() if is_visible_image(p) and p.is_file()), key=natural_order)
    if not paths:
        raise MediaError(
            f"{folder}: holds no frames; expected images ({' '.join(IMAGES)}){unreadable(folder.iterdir())}"
        )
    return paths


class FolderSource:
    """Read a folder of frames as a video: in natural order, one tick of the time base each, converted to sRGB.

    start_s, end_s: the part that is read, in seconds from the first frame at `fps`; None is the beginning and the end.
    mixed_sizes: frames of other sizes are fitted into the size that most have, on black; else they are an error.
    allow_damaged: the frame before stands in for one that cannot be read; else that is an error.
    notes: sentences on what is done to frames that are not alike.
    """

    last_sign = math.inf
    jumps = ()

    def __init__(
        self,
        folder: Path,
        fps: Fraction,
        start_s: Fraction | None = None,
        end_s: Fraction | None = None,
        *,
        mixed_sizes: bool = False,
        allow_damaged: bool = False,
    ) -> None:
        """Look at the header of every frame. Raises MediaError for frames that cannot be read or are not alike."""
        paths, self.faults = list_frames(folder), Faults()
        self.first = math.ceil((start_s or 0) * fps)
        self.paths = paths[self.first : None if end_s is None else math.ceil(end_s * fps)]
        if not self.paths:
            raise MediaError(
                f"{folder}: holds {len(paths)} frames, {float(len(paths) / fps):g} s at {float(fps):g} per second; "
                f"nothing from {float(start_s or 0):g} s on"
            )
        self.allow_damaged, self.notes = allow_damaged, list[str]()
        headers = self.readable(folder, [read_header(path) for path in self.paths])
        width, height = main_size(headers)
        odd = [header for header in headers if header.size != (width, height)]
        if odd and not mixed_sizes:
            raise MediaError(
                f"{folder}: {len(odd)} of {len(headers)} frames are not {width} x {height}: {named(odd)}; with --size "
                "WIDTHxHEIGHT they are fitted into the size that most have"
            )
        deep = [header.deep for header in headers]
        self.notes += [f"{len(odd)} frames are fitted into {width} x {height}, on black: {named(odd)}"] if odd else []
        self.notes += ["frames of 8 bits among those of 16 become 16"] if any(deep) and not all(deep) else []
        if not all(header.in_srgb for header in headers):
            self.notes.append("frames are converted from their colour profile to sRGB")
        self.info = VideoInfo(
            path=folder,
            width=width,
            height=height,
            time_base=1 / fps,
            frame_rate=fps,
            frame_count_estimate=len(self.paths),
            duration_s=float(len(self.paths) / fps),
            bit_depth=16 if any(deep) else 8,
            color=SRGB,
            container="folder",
            alpha=any(header.alpha for header in headers),
        )

    def readable(self, folder: Path, headers: list[FrameHeader]) -> list[FrameHeader]:
        """Return the headers that could be read. Raises MediaError for others, unless damage is allowed."""
        damaged = [header for header in headers if header.problem]
        if damaged and (not self.allow_damaged or len(damaged) == len(headers)):
            advice = "" if self.allow_damaged else "; with --allow-damaged the frame before stands in"
            raise MediaError(
                f"{folder}: {len(damaged)} of {len(headers)} frames cannot be read: {named(damaged)}{advice}"
            )
        return [header for header in headers if not header.problem]

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:  # noqa: ARG002 - no need here
        """Yield every frame after the first `skip`. Raises ImageError for one that cannot be read."""
        self.faults = Faults()
        last: Frame | None = None
        for number in range(skip, len(self.paths)):
            pts = self.first + number
            try:
                last = self.read(number)
            except ImageError:
                if not self.allow_damaged:
                    raise
                last = last or self.nearest(number)
                self.faults.repeated.append(pts)
            yield replace(last, pts=pts)

    def nearest(self, number: int) -> Frame:
        """Return the last frame before `number` that can be read, or the first after it. Raises MediaError."""
        for other in [*range(number - 1, -1, -1), *range(number + 1, len(self.paths))]:
            with suppress(ImageError):
                return self.read(other)
        raise MediaError(f"{self.info.path}: holds no frame that can be read")

    def read(self, number: int) -> Frame:
        """Return one frame of the size and depth of all. Raises ImageError."""
        info, path = self.info, self.paths[number]
        file = read_image(path)
        try:
            file = file.in_srgb()
        except ValueError as error:
            raise ImageError(f"{path}: {error}") from error
        image, alpha = file.image, file.alpha if info.alpha else None
        if info.bit_depth > 8 and image.dtype == np.uint8:
            image = cast(ImageArray, image.astype(np.uint16) * np.uint16(257))
            alpha = None if alpha is None else cast(Plane, alpha.astype(np.uint16) * np.uint16(257))
        elif info.bit_depth == 8:
            image, alpha = to_eight_bit(image), None if alpha is None else to_eight_bit(alpha)
        if info.alpha and alpha is None:
            alpha = np.full(image.shape[:2], np.iinfo(image.dtype).max, image.dtype)
        if image.shape[:2] != (info.height, info.width):
            image, alpha = on_black(image, alpha, info.height, info.width)
        return Frame(image, self.first + number, 1, alpha)


def on_black(image: ImageArray, alpha: Plane | None, height: int, width: int) -> tuple[ImageArray, Plane | None]:
    """Return the image with its aspect kept in the middle of another size, black (and transparent) around it."""
    factor = min(width / image.shape[1], height / image.shape[0])
    inner_width, inner_height = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    margins = ((top, height - inner_height - top), (left, width - inner_width - left))
    framed = cast(ImageArray, np.pad(enlarge(image, inner_height, inner_width), (*margins, (0, 0))))
    return framed, None if alpha is None else np.pad(enlarge_plane(alpha, inner_height, inner_width), margins)


def gaps(paths: list[Path]) -> str | None:
    """Describe the numbers that are missing between the frames' names; None when there are none."""
    numbers = [[int(n) for n in re.findall(r"\d+", path.stem)] for path in paths]
    if not all(numbers) or len({len(row) for row in numbers}) != 1:
        return None
    last = [row[-1] for row in numbers]
    missing = [n for a, b in itertools.pairwise(last) for n in range(a + 1, min(b, a + 1000))]
    if not missing:
        return None
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return f"{len(missing)} numbers are missing between the frames ({shown}); the rest is taken as one sequence"
