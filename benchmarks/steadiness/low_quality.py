"""Good clips made bad: what the benchmarks of steadiness upscale."""

import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from image_core.images import ImageArray
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource

SCALE, BLUR, NOISE, CRF = 4, 1.6, 6.0, 28
LARGEST_PX = 800
ImageArrays = list[ImageArray]


def good_frames(path: Path, count: int) -> ImageArrays:
    """The first `count`; halved where they are large, which takes their codec's traces away; cropped to 32s."""
    result = []
    for frame in VideoSource(probe(path)).frames():
        image = frame.image
        if image.shape[1] > LARGEST_PX:
            image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        height, width = (side // 32 * 32 for side in image.shape[:2])
        result.append(np.ascontiguousarray(image[:height, :width]))
        if len(result) == count:
            break
    return result


def small_frames(good: ImageArrays, noise: float, h264: bool) -> ImageArrays:
    """Blurred, a quarter of the size, with Gaussian noise fresh in every frame, and through H.264."""
    draw, result = np.random.default_rng(0), []
    for image in good:
        blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR)[::SCALE, ::SCALE]
        noisy = blurred + draw.normal(0, noise, blurred.shape) if noise else blurred
        result.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return through_h264(result) if h264 else result


def through_h264(frames: ImageArrays) -> ImageArrays:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": str(CRF)})
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"  # type: ignore[assignment]
            for number, image in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return [frame.image for frame in VideoSource(probe(path)).frames()]
