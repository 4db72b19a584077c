"""A folder of frames as a source and as a sink, symmetrical to a film."""

import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from image_core.errors import MediaError, OutputError
from osediff_video.picture import PictureFile, read_picture, write_picture
from osediff_video.types import ColorTags, Frame, VideoInfo

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}
SRGB = ColorTags(matrix=0, primaries=1, transfer=13, full_range=True)


def natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key under which frame2 comes before frame10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name)]


def list_frames(folder: Path) -> list[Path]:
    """The picture files of a folder in natural order. Raises MediaError when there are none."""
    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()), key=natural_order)
    if not found:
        raise MediaError(f"{folder}: holds no frames; expected pictures ({' '.join(sorted(SUFFIXES))})")
    return found


def probe_folder(folder: Path, fps: Fraction) -> VideoInfo:
    """Facts of a folder of frames, from its first; one frame lasts one tick of the time base."""
    frames = list_frames(folder)
    image = read_frame(frames[0])
    height, width = image.shape[:2]
    return VideoInfo(
        path=folder,
        width=width,
        height=height,
        time_base=1 / fps,
        frame_rate=fps,
        frame_count_estimate=len(frames),
        duration_s=float(len(frames) / fps),
        bit_depth=16 if image.dtype == np.uint16 else 8,
        color=SRGB,
    )


def read_folder(info: VideoInfo) -> Iterator[Frame]:
    """Every frame in natural order, pts 0, 1, 2, ... Raises MediaError for one of another size or depth."""
    deep = info.bit_depth > 8
    for pts, path in enumerate(list_frames(info.path)):
        image = read_frame(path)
        if image.shape != (info.height, info.width, 3) or (image.dtype == np.uint16) != deep:
            found = f"{image.shape[1]} x {image.shape[0]}, {image.dtype}"
            raise MediaError(
                f"{path}: {found}, but the first frame is {info.width} x {info.height}, {info.bit_depth} bit; "
                "all frames of a folder must be alike"
            )
        yield Frame(image, pts, 1)


def read_frame(path: Path) -> np.ndarray:
    return read_picture(path).image


class FolderWriter:
    """Writes frame_00000001.png, frame_00000002.png, ... beside the target; renamed when left without an exception."""

    def __init__(self, target: Path) -> None:
        self.target, self.notes = target, list[str]()
        self.part = target.with_name(f".{target.name}.part")
        self.count = 0
        try:
            shutil.rmtree(self.part, ignore_errors=True)  # of a run that was killed
            self.part.mkdir()
        except OSError as error:
            raise OutputError(f"{self.part}: cannot be made ({error})") from error

    def write(self, frame: Frame) -> None:
        self.count += 1
        write_picture(self.part / f"frame_{self.count:08d}.png", PictureFile(frame.image))

    def close(self) -> None:
        if self.target.exists():
            shutil.rmtree(self.target)  # only reached when the user asked to overwrite it
        self.part.rename(self.target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            shutil.rmtree(self.part, ignore_errors=True)
