"""The embedded model by each engine, on this processor and on ones that can do less.

python -m benchmarks.speed.engines [--data FOLDER] [--rounds 3] > rows.jsonl

Prints one JSON line for each set of instructions (all, without bfloat16, AVX2) and engine: processor seconds of
one thread for one image of 1280 x 720, prepared graphs, in turns, medians; and, with data (the folder with bench/, val/
and video/), what 8 bits cost: PSNR in dB and SSIM against the originals, beside torch in float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from image_core.device.tuned import machine
from image_core.images import ImageArray
from image_core.options import Engine, Precision, UpscaleOptions
from osediff_video.api import load_upscaler
from osediff_video.metrics.image import luma, psnr, ssim

INSTRUCTIONS = {"all": "ALL", "without bfloat16": "AVX512_CORE_VNNI", "AVX2": "AVX2"}
ENGINES: tuple[tuple[Engine, Precision], ...] = (
    ("torch", "fp32"),
    ("torch", "auto"),
    ("openvino", "fp32"),
    ("openvino-int8", "auto"),
)
LOW_HEIGHT, LOW_WIDTH = 180, 320
SETS = ("real pairs", "H.264 CRF 28", "light photographs")


def measure(instructions: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each engine, in this process and with whatever instructions it may use."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (LOW_HEIGHT, LOW_WIDTH, 3), dtype=np.uint8)
    upscalers = {}
    for engine, precision in ENGINES:
        if (engine, precision) == ("torch", "auto") and instructions != "all":
            continue  # it would take bfloat16, which the processor has
        upscaler = load_upscaler("lite", UpscaleOptions(scale=4), device="cpu", precision=precision, engine=engine)
        upscaler([image])
        upscalers[f"{engine} {precision}".removesuffix(" auto")] = upscaler
    seconds: dict[str, list[float]] = {name: [] for name in upscalers}
    for _ in range(rounds):
        for name, upscaler in upscalers.items():
            began = time.process_time()
            upscaler([image])
            seconds[name].append(time.process_time() - began)
    return [
        {"instructions": instructions, "engine": name, "cpu_s": round(statistics.median(spent), 3)}
        for name, spent in seconds.items()
    ]


def quality(data: Path) -> list[dict[str, Any]]:
    """Return PSNR and SSIM by engine on three sets of six crops."""
    from benchmarks.quality.bar_sets import SETS as LOADERS

    exact, rounded = (
        load_upscaler("lite", UpscaleOptions(scale=4), device="cpu", precision=precision, engine=engine)
        for engine, precision in (ENGINES[0], ENGINES[-1])
    )
    rows = []
    for name in SETS:
        samples = list(LOADERS[name](data, 6))
        for engine, upscaler in (("torch float32", exact), ("openvino-int8", rounded)):
            pairs: list[tuple[ImageArray, ImageArray]] = [
                (upscaler([sample.lows[0]])[0], sample.truths[0]) for sample in samples
            ]
            scores = np.mean([(psnr(luma(a), luma(b)), ssim(luma(a), luma(b))) for a, b in pairs], axis=0)
            rows.append({"set": name, "engine": engine, "psnr_y": round(scores[0], 3), "ssim_y": round(scores[1], 4)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", metavar="NAME", help="measure in this process, under this name")
    arguments = parser.parse_args()
    if arguments.here:
        for row in measure(arguments.here, arguments.rounds):
            print(json.dumps({**row, "machine": machine()}), flush=True)
        return
    for name, level in INSTRUCTIONS.items():
        command = [sys.executable, "-m", "benchmarks.speed.engines", "--here", name, "--rounds", str(arguments.rounds)]
        subprocess.run(command, env=os.environ | {"ONEDNN_MAX_CPU_ISA": level}, check=True)
    for row in quality(arguments.data) if arguments.data else ():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
