"""Find training material: folders and lists of images, folders of videos, captions beside them."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from osediff_video.suffixes import IMAGES, VIDEOS
from train.config import DataConfig, RecipeError


class Sources(NamedTuple):
    images: list[Path]
    videos: list[Path]


def find_sources(config: DataConfig) -> tuple[Sources, Sources]:
    """Return files for training, and those held out, sorted by path. Raises RecipeError when either would be empty."""
    images = list_images(Path(config.folder)) if config.folder else []
    for name in config.lists:
        images += read_list(Path(name))
    images = sorted(set(images))
    videos = list_videos(Path(config.clips)) if config.clips else []
    if not images and not videos:
        raise RecipeError("no training material: set data.folder, data.lists or data.clips")
    held = images or videos
    count = len(held) - config.holdout
    if count < 1:
        raise RecipeError(f"data.holdout is {config.holdout}, but there are only {len(held)} files; lower it")
    if images:
        return Sources(images[:count], videos), Sources(images[count:], [])
    return Sources([], videos[:count]), Sources([], videos[count:])


def list_images(folder: Path) -> list[Path]:
    """List every image file below `folder`, sorted by path. Raises RecipeError when there is none."""
    return list_files(folder, IMAGES, "images", "data.folder")


def list_videos(folder: Path) -> list[Path]:
    """List every video below `folder`, sorted by path. Raises RecipeError when there is none."""
    return list_files(folder, VIDEOS, "videos", "data.clips")


def list_files(folder: Path, suffixes: Collection[str], kind: str, key: str) -> list[Path]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes) if folder.is_dir() else []
    if not paths:
        problem = "" if folder.is_dir() else ", not even a folder"
        raise RecipeError(f"{folder}: no {kind} here{problem} ({', '.join(sorted(suffixes))}); set {key}")
    return paths


def read_list(path: Path) -> list[Path]:
    """Read a text file with one image path a line, relative ones to the file's folder. Raises RecipeError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a list of images, one path a line ({error})") from error
    paths = [path.parent / line for line in lines if line]
    if not paths:
        raise RecipeError(f"{path}: lists no images; expected one path a line")
    return paths


def read_training_image(path: Path) -> NDArray[np.uint8]:
    """Read (H, W, 3) RGB uint8, upright. Raises RecipeError when the file is no image, or not a whole one."""
    try:
        code = np.fromfile(path, np.uint8)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); correct the list or folder") from error
    image = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB) if code.size else None
    if image is None:
        raise RecipeError(f"{path}: not a readable image; remove it from the training material")
    return image


def caption(path: Path) -> str:
    """Return the text of the .txt beside an image or video of the same name, else an empty string."""
    beside = path.with_suffix(".txt")
    return beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
