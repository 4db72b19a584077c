"""Where training material lies: folders and lists of pictures, folders of films, captions beside them."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from train.config import DataConfig, RecipeError
from train.data.clips import SUFFIXES as FILM_SUFFIXES

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class Sources(NamedTuple):
    pictures: list[Path]
    films: list[Path]


def find_sources(config: DataConfig) -> tuple[Sources, Sources]:
    """Files for training, and those held out. Sorted by path. Raises RecipeError when either would be empty."""
    pictures = list_pictures(Path(config.folder)) if config.folder else []
    for name in config.lists:
        pictures += read_list(Path(name))
    pictures = sorted(set(pictures))
    films = list_films(Path(config.clips)) if config.clips else []
    if not pictures and not films:
        raise RecipeError("no training material: set data.folder, data.lists or data.clips")
    held = pictures or films
    kept = len(held) - config.holdout
    if kept < 1:
        raise RecipeError(f"data.holdout is {config.holdout}, but there are only {len(held)} files; lower it")
    if pictures:
        return Sources(pictures[:kept], films), Sources(pictures[kept:], [])
    return Sources([], films[:kept]), Sources([], films[kept:])


def list_pictures(folder: Path) -> list[Path]:
    """Every picture file below `folder`, sorted by path. Raises RecipeError when there is none."""
    return list_files(folder, SUFFIXES, "pictures", "data.folder")


def list_films(folder: Path) -> list[Path]:
    """Every film below `folder`, sorted by path. Raises RecipeError when there is none."""
    return list_files(folder, FILM_SUFFIXES, "films", "data.clips")


def list_files(folder: Path, suffixes: set[str], kind: str, key: str) -> list[Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes) if folder.is_dir() else []
    if not found:
        problem = "" if folder.is_dir() else ", not even a folder"
        raise RecipeError(f"{folder}: no {kind} here{problem} ({', '.join(sorted(suffixes))}); set {key}")
    return found


def read_list(path: Path) -> list[Path]:
    """A text file with one picture path a line, relative ones to the file's folder. Raises RecipeError."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a list of pictures, one path a line ({error})") from error
    found = [path.parent / line for line in lines if line]
    if not found:
        raise RecipeError(f"{path}: lists no pictures; expected one path a line")
    return found


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) RGB uint8, upright. Raises RecipeError when the file is no picture, or not a whole one."""
    try:
        code = np.fromfile(path, np.uint8)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); correct the list or folder") from error
    image = cv2.imdecode(code, cv2.IMREAD_COLOR_RGB) if code.size else None
    if image is None:
        raise RecipeError(f"{path}: not a readable picture; remove it from the training material")
    return image


def caption(path: Path) -> str:
    """The text of the .txt beside a picture or film of the same name, else nothing."""
    beside = path.with_suffix(".txt")
    return beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
