"""Make samples/before_after.png from samples/clip.mp4 and its upscaled version: bicubic left, result right.

Run from the project's root: osediff-video upscale samples/clip.mp4 -o clip_x4.mp4, then
python samples/make_before_after.py clip_x4.mp4
"""

import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

from image_core.images import enlarge

FOLDER = Path(__file__).parent
CROPS = ((10, 90, 100), (50, 620, 60))  # frame, left, top


def main(result: Path) -> None:
    rows = []
    before, after = (
        [f.to_ndarray(format="rgb24") for f in av.open(str(p)).decode(video=0)] for p in (FOLDER / "clip.mp4", result)
    )
    for index, left, top in CROPS:
        pair = (enlarge(before[index], *after[index].shape[:2]), after[index])
        rows.append(np.concatenate([image[top : top + 300, left : left + 480] for image in pair], axis=1))
    Image.fromarray(np.concatenate(rows)).quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        FOLDER / "before_after.png", optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
