"""Score models against bicubic and a peer on images with a reference. Prints one JSON line for each set and method.

python -m benchmarks.quality.lite_quality --model lite --kodak FOLDER --realsr FOLDER [--peer FOLDER] [--out images/]

kodak: PNG images, made small by a light and by a heavy degradation with fixed seeds. realsr: folders LR and HR.
PSNR-Y, SSIM-Y: as in osediff_video/metrics/image.py, the definitions of the OSEDiff tables.
gradient: mean gradient magnitude of the luma relative to the reference. grid: spread over mean of the second
difference by column phase modulo 8; images without a grid are near 0. flicker: see lite_flicker. seconds: wall time
for 1e6 output pixels, the methods taking turns on every image.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.lite_flicker import flicker
from benchmarks.quality.methods import SCALE, Method, bicubic, model, peer
from image_core.images import ImageArray
from osediff_video.metrics.image import gradient, grid, luma, psnr, ssim
from train.data.degrade import PRESETS, degrade

COLUMNS = ("psnr_y", "ssim_y", "gradient", "grid")
STILLS = 6
Pair = tuple[str, ImageArray, ImageArray]
"""Name, low, reference."""


def scores(result: ImageArray, reference: ImageArray) -> list[float]:
    a, b = luma(result), luma(reference)
    return [psnr(a, b), ssim(a, b), gradient(a) / gradient(b), grid(a)]


def read(path: Path) -> ImageArray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def kodak(folder: Path, preset: str) -> list[Pair]:
    """Every image with a seed of its own."""
    pairs = []
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        reference = read(path)
        low = degrade(reference.astype(np.float32) / 255, PRESETS[preset], np.random.default_rng((2026, number)))
        pairs.append((path.stem, low, reference))
    return pairs


def realsr(folder: Path) -> list[Pair]:
    references = sorted((folder / "HR").iterdir())
    return [
        (high.stem, read(low), read(high))
        for low, high in zip(sorted((folder / "LR").iterdir()), references, strict=True)
    ]


def read_sets(kodak_folder: Path | None, realsr_folder: Path | None) -> dict[str, list[Pair]]:
    sets = {}
    if kodak_folder:
        sets |= {f"kodak-{preset}": kodak(kodak_folder, preset) for preset in ("light", "heavy")}
    if realsr_folder:
        sets["realsr20"] = realsr(realsr_folder)
    return sets


def table(methods: Mapping[str, Method], pairs: Sequence[Pair], out: Path | None = None) -> dict[str, dict[str, float]]:
    """A row for each method and for the reference itself. out: write all of them side by side here."""
    rows: dict[str, list[list[float]]] = {name: [] for name in (*methods, "reference")}
    seconds = dict.fromkeys(methods, 0.0)
    for stem, low, reference in pairs:
        results = {}
        for name, method in methods.items():
            started = time.perf_counter()
            results[name] = method(low)
            seconds[name] += time.perf_counter() - started
        for name, result in (results | {"reference": reference}).items():
            rows[name].append(scores(result, reference))
        if out:
            out.mkdir(parents=True, exist_ok=True)
            sheet = np.concatenate([*results.values(), reference], axis=1)
            cv2.imwrite(str(out / f"{stem}.png"), sheet[..., ::-1])
    megapixels = sum(reference.shape[0] * reference.shape[1] for _, _, reference in pairs) / 1e6
    actual = {}
    for name, values in rows.items():
        actual[name] = dict(zip(COLUMNS, np.mean(values, axis=0).round(4).tolist(), strict=True))
        if name in seconds:
            actual[name]["seconds"] = round(seconds[name] / megapixels, 3)
    return actual


def flickers(methods: Mapping[str, Method], kodak_folder: Path) -> dict[str, dict[str, float]]:
    stills = [read(path) for path in sorted(kodak_folder.glob("*.png"))[:: 24 // STILLS]]
    actual = {}
    for name, method in methods.items():
        plain, equal = flicker(method, stills)
        actual[name] = {"flicker": round(plain, 3), "flicker_at_bicubic_sharpness": round(equal, 3)}
    return actual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lite"])
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--realsr", type=Path)
    parser.add_argument("--peer", type=Path, help="folder with realesr-animevideov3-x4 for ncnn")
    parser.add_argument("--out", type=Path, help="write all methods and the reference side by side here")
    arguments = parser.parse_args()
    methods: dict[str, Method] = {f"bicubic x{SCALE}": bicubic}
    if arguments.peer:
        methods["realesr-animevideov3"] = peer(arguments.peer)
    methods |= {name: model(name) for name in arguments.model}
    for kind, pairs in read_sets(arguments.kodak, arguments.realsr).items():
        for name, row in table(methods, pairs, arguments.out / kind if arguments.out else None).items():
            print(json.dumps({"set": kind, "images": len(pairs), "method": name, **row}), flush=True)
    if arguments.kodak:
        for name, row in flickers(methods, arguments.kodak).items():
            print(json.dumps({"set": "panned stills", "images": STILLS, "method": name, **row}), flush=True)


if __name__ == "__main__":
    main()
