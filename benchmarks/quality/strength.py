"""What the controls do to PSNR on images the model never saw: a curve over --strength. Prints one JSON line.

python -m benchmarks.quality.strength --kodak FOLDER [--preset light] [--model lite] [--images 24] [--crop 256]

The middle of each image, made four times smaller by a degradation of train/data/degrade.py with fixed seeds.
strength 0 is the round trip of the enlarged image through the model's autoencoder, 1 the model. adaptive, keep_tones:
at strength 1. low_band: largest difference of means over 16 x 16 pixels to the enlarged input, in levels of 255.
lora_scale: only for bundles whose adapters are not merged. PSNR-Y as in osediff_video/metrics/image.py, a mean.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from image_core.images import ImageArray, enlarge, to_tensor
from image_core.keep_tones import tones
from image_core.models.catalogue import find_model
from image_core.models.load import choose_device, choose_dtype, load_upscaler
from image_core.options import UpscaleOptions
from osediff_video.metrics.image import luma, psnr
from train.data.degrade import PRESETS, degrade

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
LORA_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)


def pairs(folder: Path, preset: str, count: int, crop_px: int) -> list[tuple[ImageArray, ImageArray]]:
    """(low, reference)."""
    result = []
    paths = sorted(folder.glob("*.png"))
    for number, path in enumerate(paths[:: max(1, len(paths) // count)][:count]):
        whole = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        top, left = ((side - crop_px) // 2 for side in whole.shape[:2])
        good = np.ascontiguousarray(whole[top : top + crop_px, left : left + crop_px])
        low = degrade(good.astype(np.float32) / 255, PRESETS[preset], np.random.default_rng((2026, number)))
        result.append((low, good))
    return result


def score(done: list[ImageArray], good: list[ImageArray]) -> float:
    return round(float(np.mean([psnr(luma(a), luma(b)) for a, b in zip(done, good, strict=True)])), 4)


def moved(done: list[ImageArray], low: list[ImageArray]) -> float:
    """How far tones moved, at most, in levels of 255."""
    apart = [
        tones(to_tensor([a])) - tones(to_tensor([enlarge(b, *a.shape[:2])])) for a, b in zip(done, low, strict=True)
    ]
    return round(max(float(part.abs().max()) for part in apart) * 127.5, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kodak", type=Path, required=True)
    parser.add_argument("--preset", choices=PRESETS, default="light")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--crop", type=int, default=256)
    arguments = parser.parse_args()
    low, good = map(list, zip(*pairs(arguments.kodak, arguments.preset, arguments.images, arguments.crop), strict=True))
    device, bundle = choose_device("auto"), find_model(arguments.model)
    dtype = choose_dtype("auto", device, bundle.config.alpha_bar)
    upscaler = load_upscaler(bundle, UpscaleOptions(), device=device, dtype=dtype)
    curve = {s: upscaler.steered(UpscaleOptions(strength=s))(low) for s in STRENGTHS}
    remaining, adapted = (
        upscaler.steered(options)(low) for options in (UpscaleOptions(keep_tones=True), UpscaleOptions(adaptive=True))
    )
    line = {
        "benchmark": "strength",
        "model": bundle.config.name,
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "degradation": arguments.preset,
        "images": len(low),
        "crop_px": arguments.crop,
        "bicubic": score([enlarge(image, *g.shape[:2]) for image, g in zip(low, good, strict=True)], good),
        "strength": {f"{s:g}": score(done, good) for s, done in curve.items()},
        "adaptive": score(adapted, good),
        "keep_tones": {
            "psnr_y": score(remaining, good),
            "low_band": moved(remaining, low),
            "low_band_without": moved(curve[1.0], low),
        },
    }
    if any(name.startswith("lora.") for name in bundle.config.files):
        line["lora_scale"] = {
            f"{scale:g}": score(
                load_upscaler(bundle, UpscaleOptions(lora_scale=scale), device=device, dtype=dtype)(low), good
            )
            for scale in LORA_SCALES
        }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
