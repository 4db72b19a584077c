"""Find what is fastest on this machine, and let later runs use it."""

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from image_core.device.tuned import Tuned, cores, machine, write_tuned
from image_core.device.workers import Crew
from image_core.images import ImageArray
from image_core.options import Engine, UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.api import load_upscaler
from osediff_video.workflow.bench_clip import picture


def tune(model: str = "lite", report: Callable[[str], None] = lambda _: None, fast: bool = False) -> dict[str, Any]:
    """Find the engine and the number of workers that upscale most frames a second here, and let later runs use them.

    An engine counts only if its image is no further from torch's in float32 than torch's own in the precision that is
    used, or one level of 255. fast: for runs without the UNet, which go by a record of their own.

    Returns the frames a second of everything that was tried, and what was written.
    """
    options = UpscaleOptions(fast=fast)
    exact = load_upscaler(model, options, device="cpu", precision="fp32", engine="torch")([picture(0)])[0]
    allowed, rates = 1, {}
    for engine in engines():
        upscaler = load_upscaler(model, options, device="cpu", engine=engine)
        off = largest_difference(upscaler([picture(0)])[0], exact)
        if engine == "torch":
            allowed = max(allowed, off)
        elif off > allowed:
            report(f"{engine}: its images are {off} levels from those of torch in float32, so it is not chosen")
            continue
        for workers in range(1, cores() + 1):
            rates[engine, workers] = rate_of(upscaler, workers)
            report(f"{engine}, {workers} at once: {rates[engine, workers]:.2f} frames a second")
    engine, workers = max(rates, key=lambda key: rates[key])
    file = write_tuned(Tuned(engine, workers), fast)
    runs = "later runs with --fast" if fast else "later runs"
    report(f"{runs} use {engine} with {workers} at once; delete {file} to undo that")
    tried = {f"{engine} {workers}": round(rate, 2) for (engine, workers), rate in rates.items()}
    return {
        "machine": machine(),
        "model": model,
        "fast": fast,
        "tried_fps": tried,
        "engine": engine,
        "workers": workers,
    }


def engines() -> list[Engine]:
    """Return the engines that are installed, torch first."""
    return ["torch", "openvino"] if importlib.util.find_spec("openvino") else ["torch"]


def rate_of(upscaler: Upscaler, workers: int, each: int = 3) -> float:
    """Return the frames a second of so many workers, after one frame for each that prepares them."""
    with upscaler.workers.engaged(Crew(workers, 1)):
        upscaler([picture(number) for number in range(workers)])
        images = [picture(number) for number in range(each * workers)]
        started = time.perf_counter()
        upscaler(images)
        return len(images) / (time.perf_counter() - started)


def largest_difference(one: ImageArray, other: ImageArray) -> int:
    """Return by how many levels two images differ at most."""
    return int(np.abs(one.astype(int) - other).max())
