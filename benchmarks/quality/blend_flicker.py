"""How much models flicker with the temporal blend, at equal sharpness: one JSON line for each material and model.

python -m benchmarks.quality.blend_flicker --data FOLDER [--model lite lite-faithful] [--stills 6]

data: the folder with val/kodak24, bench/ and video/. Two materials: the pan over stills of lite_flicker, where truth
stands still and all change is flicker, and the clips of the bars through H.264 at CRF 28, whole frames in order.
alone, blend: as the model makes every frame, and blended along the motion. *_equal: softened until the mean gradient
is that of bicubic on the same frames, since noise and detail are amplified alike. Of pans the standard deviation over
time, of clips the change of the error between neighbouring frames, both in levels of 255. gradient: relative to
bicubic's. vgg: distance of the last frame, clips only.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.bar_sets import CLIPS, CROP_PX, VIDEO, busiest, coded, good_frames, read
from benchmarks.quality.bars import vgg_distance
from benchmarks.quality.lite_flicker import aligned, deviation, panned, softened_to
from benchmarks.quality.methods import bicubic, upscaler_of
from benchmarks.steadiness.steadiness import blended, drafted
from image_core.images import ImageArray
from image_core.upscaler import Upscaler
from osediff_video.metrics.image import Luma, gradient, luma
from osediff_video.options import VideoOptions
from osediff_video.temporal.blend import output_of

CODING = "H.264 CRF 28"
FIRST_SCORED = 2  # the first frame is an encoder's best, and the blend has nothing to go by there
NO_SEGMENTS = 10**9


def both_ways(small: Sequence[ImageArray], upscaler: Upscaler) -> dict[str, list[ImageArray]]:
    """The frames as the model makes them, and blended."""
    done = drafted(list(small), upscaler, revisable=False)
    strength = VideoOptions.temporal_strength
    return {
        "alone": [output_of(step) for step in done],
        "blend": blended(done, upscaler, "pixel", strength, NO_SEGMENTS),
    }


def sharpness(lumas: Sequence[Luma]) -> float:
    return float(np.mean([gradient(one) for one in lumas]))


def error_change(lumas: Sequence[Luma], truths: Sequence[Luma]) -> float:
    errors = [own - other for own, other in zip(lumas, truths, strict=True)]
    return float(np.mean([np.abs(after - before).mean() for before, after in itertools.pairwise(errors)]))


def of_pan(still: ImageArray, seed: int, upscaler: Upscaler) -> dict[str, float]:
    small = panned(still, seed)
    expected, row = sharpness(aligned([bicubic(frame) for frame in small])), {}
    for name, results in both_ways(small, upscaler).items():
        lumas = aligned(results)
        row |= {name: deviation(lumas), f"{name}_equal": deviation(softened_to(lumas, expected))}
        row[f"{name}_gradient"] = sharpness(lumas) / expected
    return row


def of_clip(path: Path, upscaler: Upscaler) -> dict[str, float]:
    frames = good_frames(path)
    small, (top, left) = coded(frames, VIDEO[CODING]), busiest(frames[-1])

    def seen(images: Sequence[ImageArray]) -> list[ImageArray]:
        return [image[top : top + CROP_PX, left : left + CROP_PX] for image in images[FIRST_SCORED:]]

    truths = [luma(image) for image in seen(frames)]
    expected, row = sharpness([luma(image) for image in seen([bicubic(frame) for frame in small])]), {}
    distance = vgg_distance()
    for name, results in both_ways(small, upscaler).items():
        lumas = [luma(image) for image in seen(results)]
        row |= {name: error_change(lumas, truths), f"{name}_equal": error_change(softened_to(lumas, expected), truths)}
        row[f"{name}_gradient"] = sharpness(lumas) / expected
        row[f"{name}_vgg"] = distance(*(np.ascontiguousarray(seen(images)[-1]) for images in (results, frames)))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", nargs="+", default=["lite", "lite-faithful"])
    parser.add_argument("--stills", type=int, default=6)
    parser.add_argument("--clips", type=int, default=len(CLIPS))
    arguments = parser.parse_args()
    kodak = sorted((arguments.data / "val" / "kodak24").glob("*.png"))
    chosen = [read(path) for path in kodak[:: max(1, len(kodak) // arguments.stills)][: arguments.stills]]
    for name in arguments.model:
        upscaler = upscaler_of(name)
        materials = {
            "panned stills": [of_pan(still, seed, upscaler) for seed, still in enumerate(chosen)],
            CODING: [of_clip(arguments.data / clip, upscaler) for clip in CLIPS[: arguments.clips]],
        }
        for material, rows in materials.items():
            means = {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
            line = {"set": material, "samples": len(rows), "method": Path(name).name, **means}
            line["strength"] = VideoOptions.temporal_strength
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
