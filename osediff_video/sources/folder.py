"""Read a folder of frames as a source."""

import itertools
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from image_core.errors import MediaError
from osediff_video.image_file import read_image
from osediff_video.suffixes import IMAGES, is_image
from osediff_video.types import Bookmark, ColorTags, Faults, Frame, VideoInfo

SRGB = ColorTags(matrix=0, primaries=1, transfer=13, full_range=True)


def natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Return a sort key by which frame2 comes before frame10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", path.name)]


def is_visible_image(path: Path) -> bool:
    """Return whether a file is an image by its name; hidden ones are other programs' notes, such as ._0001.png."""
    return is_image(path) and not path.name.startswith(".")


def list_frames(folder: Path) -> list[Path]:
    """Return the image files of a folder in natural order. Raises MediaError when there are none."""
    paths = sorted((p for p in folder.iterdir() if is_visible_image(p) and p.is_file()), key=natural_order)
    if not paths:
        raise MediaError(f"{folder}: holds no frames; expected images ({' '.join(IMAGES)})")
    return paths


class FolderSource:
    """Read a folder of frames as a video: in natural order, one tick of the time base each.

    start_s, end_s: the part that is read, in seconds from the first frame at `fps`; None is the beginning and the end.
    """

    last_sign = math.inf
    jumps = ()

    def __init__(
        self, folder: Path, fps: Fraction, start_s: Fraction | None = None, end_s: Fraction | None = None
    ) -> None:
        """Take size and depth from the first frame. Raises MediaError or ImageError."""
        paths, self.faults = list_frames(folder), Faults()
        self.first = math.ceil((start_s or 0) * fps)
        self.paths = paths[self.first : None if end_s is None else math.ceil(end_s * fps)]
        if not self.paths:
            raise MediaError(
                f"{folder}: holds {len(paths)} frames, {float(len(paths) / fps):g} s at {float(fps):g} per second; "
                f"nothing from {float(start_s or 0):g} s on"
            )
        first = read_image(self.paths[0])
        height, width = first.image.shape[:2]
        self.info = VideoInfo(
            path=folder,
            width=width,
            height=height,
            time_base=1 / fps,
            frame_rate=fps,
            frame_count_estimate=len(self.paths),
            duration_s=float(len(self.paths) / fps),
            bit_depth=16 if first.image.dtype == np.uint16 else 8,
            color=SRGB,
            container="folder",
            alpha=first.alpha is not None,
        )

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:  # noqa: ARG002 - no need here
        """Yield every frame after the first `skip`. Raises MediaError for one of another size or depth."""
        info = self.info
        for pts, path in enumerate(self.paths[skip:], self.first + skip):
            file = read_image(path)
            image = file.image
            deep = image.dtype == np.uint16
            if image.shape != (info.height, info.width, 3) or deep != (info.bit_depth > 8):
                actual = f"{image.shape[1]} x {image.shape[0]}, {image.dtype}"
                raise MediaError(
                    f"{path}: {actual}, but the first frame is {info.width} x {info.height}, {info.bit_depth} bit; "
                    "all frames of a folder must be alike"
                )
            alpha = file.alpha if info.alpha else None
            if info.alpha and alpha is None:
                alpha = np.full(image.shape[:2], np.iinfo(image.dtype).max, image.dtype)
            yield Frame(image, pts, 1, alpha)


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
