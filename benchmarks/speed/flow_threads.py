"""What it brings to look at several pairs of frames at once for motion. One JSON line a size and number of threads.

python -m benchmarks.speed.flow_threads [VIDEO] [--frames 12] [--rounds 5] [--threads 1 2] > rows.jsonl

wall_ms, cpu_ms: a frame, medians of the rounds, the numbers of threads in turn. OpenCV's own threads work beside them,
as they do in a run. Wall times need a machine that is idle.
"""

import argparse
import itertools
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import cv2

from image_core.device.tuned import machine
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.temporal.flow import dis_flow
from osediff_video.temporal.steps import steps

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"
SIZES = ((180, 320), (270, 480), (540, 960))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", default=SAMPLE)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    read = list(itertools.islice(VideoSource(probe(arguments.video)).frames(), arguments.frames + 1))
    for height, width in SIZES:
        frames = [replace(frame, image=cv2.resize(frame.image, (width, height))) for frame in read]
        spent: dict[int, list[tuple[float, float]]] = {threads: [] for threads in arguments.threads}
        for _ in range(arguments.rounds):
            for threads, times in spent.items():
                wall, cpu = time.perf_counter(), time.process_time()
                for _step in steps(frames, 0, dis_flow, threads=threads):
                    pass
                times.append((time.perf_counter() - wall, time.process_time() - cpu))
        for threads, times in spent.items():
            walls, cpus = ([1e3 * time_s / arguments.frames for time_s in kind] for kind in zip(*times, strict=True))
            row = {"width": width, "height": height, "threads": threads}
            row |= {"wall_ms": round(statistics.median(walls), 1), "cpu_ms": round(statistics.median(cpus), 1)}
            print(json.dumps(row | {"machine": machine()}), flush=True)


if __name__ == "__main__":
    main()
