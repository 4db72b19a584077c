"""What steadiness costs: whole videos with and without it, in turn, and its parts alone. One JSON line.

python -m benchmarks.speed.blend_cost [VIDEO] [--rounds 3] [--model lite]

wall_ratio, cpu_ratio: of seconds with the blend over seconds without, median of the rounds. flow_ms, blend_ms: a frame,
on one thread, at the video's size.
"""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from image_core.models.catalogue import find_model
from image_core.models.load import choose_device, choose_dtype, load_upscaler
from image_core.options import UpscaleOptions
from image_core.upscaler import Draft, Upscaler
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.options import Temporal, VideoOptions
from osediff_video.run import upscale_video
from osediff_video.temporal.blend import PixelBlend, steadied
from osediff_video.temporal.flow import dis_flow, motion
from osediff_video.temporal.steps import steps

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"


def video_s(source: Path, upscaler: Upscaler, temporal: Temporal) -> tuple[float, float, int]:
    """Seconds by the clock and of the processor, and frames."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        encoding, options = Encoding(preset="ultrafast"), VideoOptions(temporal=temporal)
        result = upscale_video(source, Path(folder) / "out.mp4", upscaler, encoding, options)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = spent.ru_utime + spent.ru_stime - cpu.ru_utime - cpu.ru_stime
        return time.perf_counter() - wall, cpu_s, result.frames


def each_ms(work: Callable[[], object], count: int) -> float:
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started) / count


def parts(source: Path, scale: float) -> tuple[float, float]:
    """Flow and blend of the video's first frames, in ms of processor time a frame."""
    cv2.setNumThreads(1)
    frames = [frame for frame, _ in zip(VideoSource(probe(source)).frames(), range(24), strict=False)]
    images = [frame.image for frame in frames]
    size = tuple(round(side * scale) for side in images[0].shape[1::-1])
    related = [
        replace(step, draft=Draft(np.asarray(cv2.resize(step.frame.image, size, interpolation=cv2.INTER_CUBIC))))
        for step in steps(frames, 0, dis_flow)
    ]
    flow_ms = each_ms(lambda: [motion(a, b) for a, b in pairwise(images)], len(images) - 1)
    blend_ms = each_ms(lambda: list(steadied(related, PixelBlend.of(0.7, False), 10**9)), len(images))
    cv2.setNumThreads(-1)
    return flow_ms, blend_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", type=Path, default=SAMPLE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="lite")
    arguments = parser.parse_args()
    bundle, device = find_model(arguments.model), choose_device("auto")
    dtype = choose_dtype("auto", device, bundle.config.alpha_bar)
    upscaler = load_upscaler(bundle, UpscaleOptions(), device=device, dtype=dtype)
    flow_ms, blend_ms = parts(arguments.video, upscaler.options.scale)
    rows: dict[str, list[tuple[float, float, int]]] = {"off": [], "pixel": [], "latent": []}
    video_s(arguments.video, upscaler, "off")  # warm-up
    for _ in range(arguments.rounds):
        for temporal, actual in rows.items():
            actual.append(video_s(arguments.video, upscaler, temporal))  # type: ignore[arg-type]
    line: dict[str, object] = {"video": arguments.video.name, "model": bundle.config.name, "device": str(device)}
    line |= {"flow_ms": round(flow_ms, 1), "blend_ms": round(blend_ms, 1)}
    for name, actual in rows.items():
        ratios = [(a[0] / b[0], a[1] / b[1]) for a, b in zip(actual, rows["off"], strict=True)]
        line[name] = {
            "s_a_frame": round(statistics.median(wall / count for wall, _, count in actual), 4),
            "wall_ratio": round(statistics.median(wall for wall, _ in ratios), 3),
            "cpu_ratio": round(statistics.median(cpu for _, cpu in ratios), 3),
        }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
