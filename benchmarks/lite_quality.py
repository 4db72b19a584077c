"""Score a model against bicubic on pictures with a reference. Prints one JSON line for each set.

python -m benchmarks.lite_quality --model lite --kodak FOLDER --realsr FOLDER [--out pictures/]

kodak: PNG pictures, made small by a light and by a heavy degradation with fixed seeds. realsr: folders LR and HR.
PSNR-Y, SSIM-Y: as in osediff_video/metrics.py, the definitions of the OSEDiff tables.
gradient: mean gradient magnitude of the luma relative to the reference. grid: spread over mean of the second
difference by column phase modulo 8; pictures without a grid are near 0.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from image_core.catalogue import choose_device, choose_dtype, find_model, load_upscaler
from image_core.images import enlarge
from image_core.options import UpscaleOptions
from osediff_video.metrics import Luma, gradient, luma, psnr, ssim
from train.degrade import PRESETS, degrade


def grid(a: Luma) -> float:
    curvature = np.abs(np.diff(a, 2, axis=1)).mean(0)
    by_phase = np.array([curvature[phase::8].mean() for phase in range(8)])
    return float(by_phase.std() / by_phase.mean())


def scores(result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> list[float]:
    a, b = luma(result), luma(reference)
    return [psnr(a, b), ssim(a, b), gradient(a) / gradient(b), grid(a)]


def read(path: Path) -> NDArray[np.uint8]:
    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)


def kodak(folder: Path, preset: str) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """(name, low, reference): every picture with a seed of its own."""
    pairs = []
    for number, path in enumerate(sorted(folder.glob("*.png"))):
        reference = read(path)
        low = degrade(reference.astype(np.float32) / 255, PRESETS[preset], np.random.default_rng((2026, number)))
        pairs.append((path.stem, low, reference))
    return pairs


def realsr(folder: Path) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    references = sorted((folder / "HR").iterdir())
    return [
        (high.stem, read(low), read(high))
        for low, high in zip(sorted((folder / "LR").iterdir()), references, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--realsr", type=Path)
    parser.add_argument("--out", type=Path, help="write bicubic | result | reference side by side here")
    arguments = parser.parse_args()
    device = choose_device("auto")
    bundle = find_model(arguments.model)
    dtype = choose_dtype("auto", device, bundle.config.alpha_bar)
    upscaler = load_upscaler(bundle, UpscaleOptions(), device=device, dtype=dtype)
    sets = {}
    if arguments.kodak:
        sets |= {f"kodak-{preset}": kodak(arguments.kodak, preset) for preset in ("light", "heavy")}
    if arguments.realsr:
        sets["realsr20"] = realsr(arguments.realsr)
    for name, pairs in sets.items():
        rows, seconds = [], 0.0
        for stem, low, reference in pairs:
            upscaler.load = None  # sizes differ from picture to picture
            started = time.perf_counter()
            result = upscaler([low])[0]
            seconds += time.perf_counter() - started
            bicubic = enlarge(low, *reference.shape[:2])
            rows.append((scores(bicubic, reference), scores(result, reference), scores(reference, reference)))
            if arguments.out:
                arguments.out.mkdir(parents=True, exist_ok=True)
                sheet = np.concatenate([bicubic, result, reference], axis=1)
                cv2.imwrite(str(arguments.out / f"{name}-{stem}.png"), sheet[..., ::-1])
        means = np.mean(rows, axis=0)
        megapixels = sum(reference.shape[0] * reference.shape[1] for _, _, reference in pairs) / 1e6
        line = {"set": name, "pictures": len(pairs), "model": arguments.model, "device": str(device)}
        for who, row in zip(("bicubic", "result", "reference"), means, strict=True):
            line[who] = dict(zip(("psnr_y", "ssim_y", "gradient", "grid"), np.round(row, 4).tolist(), strict=True))
        line["gain"] = {"psnr_y": round(means[1][0] - means[0][0], 4), "ssim_y": round(means[1][1] - means[0][1], 4)}
        line["seconds_per_megapixel"] = round(seconds / megapixels, 3)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
