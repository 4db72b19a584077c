"""What `--compile` brings on this CPU, and what it costs: `lite`, one thread, in processor seconds.

python -m benchmarks.speed.compiled [--height 180 --width 320] [--rounds 5] > rows.jsonl

Prints a JSON line for float32 and bfloat16: an image of the model as it is and compiled, in turns, medians; the first
compiled image in a process that compiles (its compilers included) and in one that finds the code of that one; and by
how many levels of 255 the images are apart at most.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from image_core.device.tuned import machine
from image_core.options import Precision, UpscaleOptions
from osediff_video.api import load_upscaler
from osediff_video.workflow.tune import largest_difference

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def spent() -> float:
    """Return the processor seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def measure(precision: Precision, height: int, width: int, rounds: int) -> dict[str, object]:
    """Return the row of this process."""
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    said: list[str] = []
    plain, compiled = (
        load_upscaler(
            "lite", UpscaleOptions(compile=asked), device="cpu", precision=precision, engine="torch", report=said.append
        )
        for asked in (False, True)
    )
    exact, began, started = plain([image])[0], spent(), time.perf_counter()
    result = compiled([image])[0]
    first_s = time.perf_counter() - started
    seconds: dict[str, list[float]] = {"plain": [], "compiled": []}
    for _ in range(rounds):
        for name, upscaler in (("plain", plain), ("compiled", compiled)):
            turn = time.process_time()
            upscaler([image])
            seconds[name].append(time.process_time() - turn)
    from torch._inductor.async_compile import shutdown_compile_workers

    shutdown_compile_workers()  # waited for, they count
    return {
        "precision": precision,
        "size": [height, width],
        "cpu_s": {name: round(statistics.median(several), 4) for name, several in seconds.items()},
        "first_cpu_s": round(spent() - began - sum(map(sum, seconds.values())), 1),
        "first_s": round(first_s, 1),
        "levels": largest_difference(exact, result),
        "said": [sentence for sentence in said if sentence.startswith("note")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=180)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--here", choices=PRECISIONS, help="measure in this process")
    given = parser.parse_args()
    if given.here:
        print(json.dumps(measure(given.here, given.height, given.width, given.rounds)))
        return
    size = ["--height", str(given.height), "--width", str(given.width), "--rounds", str(given.rounds)]
    for precision in PRECISIONS:
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "filled"):
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.speed.compiled", "--here", precision, *size],
                    env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder}, check=True, capture_output=True, text=True,
                )  # fmt: skip
                row = {"cache": cache, **json.loads(done.stdout), "machine": machine()}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
