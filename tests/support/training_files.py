"""Small images and videos to train on, with a caption beside one of each."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.media_files import write_video


def save_image(path: Path, seed: int, size: tuple[int, int] = (64, 72)) -> Path:
    """Smooth coloured blocks. size: height and width."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((size[1], size[0]), Image.Resampling.BICUBIC).save(path)
    return path


def write_images(folder: Path) -> Path:
    """Six images of 72 x 64."""
    for number in range(6):
        save_image(folder / f"{number}.png", number)
    (folder / "2.txt").write_text("a red fox, snow\n", encoding="utf-8")
    return folder


def write_videos(folder: Path) -> Path:
    """Two videos of 24 frames, with many and with one group of images."""
    pts = [512 * number for number in range(24)]
    write_video(folder / "a.mp4", pts, options={"g": "6", "bf": "2"})
    write_video(folder / "b.mkv", pts, options={"g": "250"})
    (folder / "a.txt").write_text("a bar walks", encoding="utf-8")
    return folder
