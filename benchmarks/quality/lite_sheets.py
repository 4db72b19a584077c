"""Ten side-by-sides for the eye: bicubic, the peer, the models, the truth. Writes them to docs/models/sheets/.

python -m benchmarks.quality.lite_sheets --kodak FOLDER --peer FOLDER --model lite

Eight are of Kodak images (free to use), made small as in lite_quality; two of the sample clip, which has no truth.
"""

import argparse
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.quality.lite_quality import kodak
from benchmarks.quality.methods import SCALE, Method, bicubic, model, peer
from image_core.images import ImageArray

CROP_PX = 192
KODAK = (  # image, degradation, left, top
    ("kodim01", "light", 300, 180),
    ("kodim08", "light", 280, 250),
    ("kodim15", "light", 320, 90),
    ("kodim19", "light", 150, 420),
    ("kodim04", "heavy", 190, 240),
    ("kodim05", "heavy", 330, 100),
    ("kodim07", "heavy", 330, 150),
    ("kodim23", "heavy", 120, 90),
)
SAMPLE = ((10, 90, 110), (50, 640, 80))  # frame, left, top
ROOT = Path(__file__).parent.parent.parent


def sheet(low: ImageArray, reference: ImageArray | None, left: int, top: int, methods: dict[str, Method]) -> ImageArray:
    """Crops of CROP_PX in a row, each with its name."""
    images = {name: method(low) for name, method in methods.items()}
    if reference is not None:
        images["truth"] = reference
    tiles = []
    for name, image in images.items():
        tile = np.array(image[top : top + CROP_PX, left : left + CROP_PX], order="C")
        for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(tile, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, thickness, cv2.LINE_AA)
        tiles.append(tile)
    return np.hstack(tiles)


def write(name: str, image: ImageArray) -> None:
    folder = ROOT / "docs" / "models" / "sheets"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f"{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 93])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kodak", type=Path, required=True)
    parser.add_argument("--peer", type=Path, required=True, help="folder with realesr-animevideov3-x4 for ncnn")
    parser.add_argument("--model", nargs="+", default=["lite"])
    arguments = parser.parse_args()
    methods = {f"bicubic x{SCALE}": bicubic, "realesr-animevideov3": peer(arguments.peer)}
    methods |= {Path(name).name: model(name) for name in arguments.model}
    sets = {preset: {stem: pair for stem, *pair in kodak(arguments.kodak, preset)} for preset in ("light", "heavy")}
    for stem, preset, left, top in KODAK:
        low, reference = sets[preset][stem]
        write(f"{stem}_{preset}", sheet(low, reference, left, top, methods))
    with av.open(str(ROOT / "samples" / "clip.mp4")) as clip:
        frames = [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]
    for index, left, top in SAMPLE:
        write(f"sample_{index}", sheet(frames[index], None, left, top, methods))


if __name__ == "__main__":
    main()
