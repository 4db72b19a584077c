"""How fast one core makes training samples: read (from the cache), crop, degrade, enlarge. Prints one JSON line.

OMP_NUM_THREADS=1 python -m benchmarks.speed.degradation_speed --folder IMAGES [--count 200]

pairs_per_cpu_s: by the processor's time, which other programs on the machine do not change; pairs_per_s: by the clock.
"heavy" is the paper's degradation. clips_5: five frames from a moving camera, through a real video encoder.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import torch

from train.config import DataConfig
from train.data.files import list_images, read_training_image
from train.data.samples import open_samples


def enlarged_copies(folder: Path, target: Path, count: int, least_px: int) -> None:
    """PNG copies with sides of at least `least_px`, as the images of the large training sets have."""
    for number, path in enumerate(list_images(folder)[:count]):
        image = read_training_image(path)
        factor = max(1.0, least_px / min(image.shape[:2]))
        large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(target / f"{number}.png"), large[..., ::-1])


def measure(config: DataConfig, count: int) -> dict[str, float]:
    samples = open_samples(config, seed=0, length=count + 20)
    for number in range(20):
        samples[count + number]  # fills the cache
    clock, processor = time.monotonic(), time.process_time()
    for number in range(count):
        samples[number]
    clock, processor = time.monotonic() - clock, time.process_time() - processor
    return {"pairs_per_cpu_s": round(count / processor, 1), "pairs_per_s": round(count / clock, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    result: dict[str, object] = {"images": 16, "count": arguments.count}
    with tempfile.TemporaryDirectory() as name:
        enlarged_copies(arguments.folder, Path(name), 16, 768)
        for label, changes in {
            "heavy_512px": {"crop_px": 512},
            "heavy_128px": {"crop_px": 128},
            "light_512px": {"crop_px": 512, "mixture": {"light": 1.0}},
            "clips_5x512px": {"crop_px": 512, "frames": 5},
            "clips_5x128px": {"crop_px": 128, "frames": 5},
        }.items():
            count = arguments.count // (8 if "clips" in label else 1)
            result[label] = measure(DataConfig(folder=name, holdout=0, **changes), max(5, count))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
