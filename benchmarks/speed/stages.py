"""What every stage around the model takes: ms of processor time a frame, at 720p, 1080p and 4K. One JSON line a size.

python -m benchmarks.speed.stages [--scale 4] [--frames 12] [--rounds 3] [VIDEO] > row.jsonl

The video is resized to `1/scale` of each size first. The network is left out: the image it is given is its result. One
thread a stage; medians of the rounds. around: all of them but `encode`. The motion is estimated at the input's size,
so that scale 2 has four times as much of it as scale 4. Processor time grows by a tenth beside other work.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TypeVar, cast

import av
import cv2
import torch
from torch import Tensor, nn

from image_core.color import adain
from image_core.device.memory import Workload
from image_core.device.tuned import machine
from image_core.generator import Generator
from image_core.images import enlarge, to_levels, to_tensor
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.media.writing.encoder import Encoder, add_video, plan_encoder
from osediff_video.shots.cuts import mark_cuts
from osediff_video.temporal.blend import PixelBlend, steadied
from osediff_video.temporal.flow import Flow, dis_flow, motion
from osediff_video.temporal.steps import steps
from osediff_video.types import Frame, ImageArray

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"
SIZES = ((720, 1280), (1080, 1920), (2160, 3840))
STRENGTH = 0.6
T = TypeVar("T")


class NoNetwork(nn.Module):
    """Return the enlarged image where a network would restore it."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder, self.unet = None, None

    def encode(self, image: Tensor) -> Tensor:
        return image[..., ::8, ::8]

    def denoise(self, latent: Tensor, embedding: Tensor) -> Tensor:  # noqa: ARG002 - as a generator has it
        return latent

    def decode(self, latent: Tensor, image: Tensor) -> Tensor:  # noqa: ARG002 - as a generator has it
        return image


def resized(video: Path, height: int, width: int, count: int, target: Path) -> Path:
    """Write the first frames of a video in another size."""
    with av.open(str(video)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=Fraction(24), options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame, _ in zip(reader.decode(video=0), range(count), strict=False):
            image = cv2.resize(frame.to_ndarray(format="rgb24"), (width, height), interpolation=cv2.INTER_CUBIC)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        writer.mux(stream.encode())
    return target


def stages_ms(video: Path, scale: float, folder: Path) -> dict[str, float]:
    """Return what each stage takes a frame. draft: `enlarge`, `tensor` and `levels` together, as a worker does them."""
    spent: dict[str, float] = {}

    def timed(name: str, work: Callable[[], T]) -> T:
        began = time.process_time()
        result = work()
        spent[name] = 1e3 * (time.process_time() - began) / len(frames or [0])
        return result

    info, frames = probe(video), cast(list[Frame], [])
    began = time.process_time()
    frames += VideoSource(info).frames()
    spent["decode"] = 1e3 * (time.process_time() - began) / len(frames)
    images = [frame.image for frame in frames]
    size = round(info.height * scale), round(info.width * scale)
    timed("cuts", lambda: list(mark_cuts(frames)))
    flows: dict[tuple[int, int], Flow] = {}

    def both_ways() -> None:
        for before, after in pairwise(images):
            for pair in ((after, before), (before, after)):
                flows[id(pair[0]), id(pair[1])] = dis_flow(*pair)

    def known(source: ImageArray, target: ImageArray) -> Flow:
        return flows[id(source), id(target)]

    timed("flow", both_ways)
    timed("confidence", lambda: [motion(*pair, known) and None for pair in pairwise(images)])
    large = enlarge(images[0], *size)
    given = to_tensor([large])
    timed("enlarge", lambda: [enlarge(image, *size) is None for image in images])
    timed("tensor", lambda: [to_tensor([large]) is None for _ in images])
    timed("levels", lambda: [to_levels(given, 255) is None for _ in images])
    timed("adain", lambda: [adain(given, given) is None for _ in images])
    upscaler = Upscaler(
        cast(Generator, NoNetwork()), torch.zeros(1, 1, 1), UpscaleOptions(scale), bytes_per_pixel=1
    )  # fmt: skip
    load = Workload(1, None)
    drafts = timed(
        "draft", lambda: [upscaler.draft_batch([image], size, None, False, None, load)[0] for image in images]
    )
    related = [replace(step, draft=draft) for step, draft in zip(steps(frames, 0, known), drafts, strict=True)]
    blended = timed("blend", lambda: [step.output for step in steadied(related, PixelBlend(STRENGTH, STRENGTH), 10**9)])
    plan = plan_encoder(info, size[1], size[0], Encoding(), ".mkv")
    with av.open(str(folder / "out.mkv"), "w") as container:
        encoder = Encoder(add_video(container, plan), plan)
        results = [replace(frame, image=image) for frame, image in zip(frames, blended, strict=True)]
        timed("colour", lambda: [encoder.convert.from_rgb(frame.image, plan.pix_fmt) is None for frame in results])
        timed("encode", lambda: [container.mux(encoder.encode(frame)) for frame in results] and encoder.flush())
    spent["encode"] -= spent["colour"]
    return spent


PARTS = ("decode", "cuts", "flow", "confidence", "draft", "blend", "colour")
"""Of the sum: all that the chain does with its default settings."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--scale", type=float, default=4)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for height, width in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder, scale = Path(name), arguments.scale
            small = round(height / scale), round(width / scale)
            video = resized(arguments.video, *small, arguments.frames, folder / "in.mkv")
            rounds = [stages_ms(video, scale, folder) for _ in range(arguments.rounds)]
        spent = {stage: statistics.median(each[stage] for each in rounds) for stage in rounds[0]}
        around = sum(spent[part] for part in PARTS)
        row = {stage: round(ms, 1) for stage, ms in spent.items()} | {"around": round(around, 1)}
        print(json.dumps({"machine": machine(), "height": height, "width": width, "scale": scale, **row}), flush=True)


if __name__ == "__main__":
    main()
