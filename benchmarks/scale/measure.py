"""What one segment costs by itself, for the simulation: `python -m benchmarks.scale.measure [--video VIDEO]`.

Processor seconds, which other work on the machine changes little. Prints one JSON line: of each segment made alone by a
worker, of one run over the same frames, of reading the video once, and of the driver for each segment that comes in.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from image_core.options import UpscaleOptions
from osediff_video.api import load_upscaler
from osediff_video.encoding import Encoding
from osediff_video.farm.worker import ModelChoice, Task, Worker
from osediff_video.job.order import Order
from osediff_video.media.writing.segment import adopt_segment
from osediff_video.options import VideoOptions
from osediff_video.run import upscale_video

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"


def cpu_s(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` returns, and its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    result = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return result, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(video: Path, scale: float) -> dict[str, Any]:
    """Return the row."""
    torch.set_num_threads(1)
    options = UpscaleOptions(scale=scale)
    worker = Worker(ModelChoice("lite", options, "cpu", "auto", 1))
    _, load_s = cpu_s(lambda: worker.load(None))
    task = Task(Order(video.absolute(), scale, Encoding(), VideoOptions()), "out.mp4")
    manifest, plan_s = cpu_s(lambda: worker.manifest(task))
    files, survey_s = cpu_s(lambda: worker.survey(task))
    survey = json.loads(files["survey.json"])
    alone, adopt, sizes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(len(survey["bookmarks"])):
            items, seconds = cpu_s(lambda index=index: list(worker.make(task, files, index)))
            part = Path(folder) / "part.mkv"
            part.write_bytes(b"".join(item for item in items if isinstance(item, bytes)))
            sizes.append(part.stat().st_size)
            _, taken = cpu_s(lambda items=items, part=part: adopt_segment(Path(folder), part, items[-1]))
            alone.append(round(seconds, 3))
            adopt.append(round(taken, 4))
        upscaler = load_upscaler("lite", options, device="cpu")
        result, run_s = cpu_s(lambda: upscale_video(video, Path(folder) / "whole.mp4", upscaler, Encoding()))
    worker.close()
    return {
        "video": video.name,
        "frames": result.frames,
        "segment_frames": survey["segment_frames"],
        "load_s": round(load_s, 2),
        "plan_s": round(plan_s, 3),
        "survey_s": round(survey_s, 3),
        "alone_s": alone,
        "run_s": round(run_s, 2),
        "adopt_s": adopt,
        "segment_bytes": sizes,
        "workload": manifest.computation["workload"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--video", type=Path, default=SAMPLE)
    parser.add_argument("--scale", type=float, default=2.0)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.video, arguments.scale)))
