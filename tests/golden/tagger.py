"""Makes tagger.json: what the tiny tagger of tests/support/tiny_ram.py computes.

To be made again only by code that gives the published numbers on the published files (tests/oracle/test_tagger.py).

PYTHONPATH=. python tests/golden/tagger.py
"""

import json
import tempfile
from pathlib import Path

import torch

from image_core.images import to_tensor
from image_core.prompts.ram import read_ram
from tests.support.tiny_ram import ADAPTERS, IMAGES, WEIGHTS, write_ram


def rounded(values: torch.Tensor) -> list[float]:
    return [round(float(value), 5) for value in values.flatten()]


@torch.no_grad()
def main() -> None:
    folder, golden = write_ram(Path(tempfile.mkdtemp())), {}
    images = [to_tensor([image]) for image in IMAGES]
    for name, adapters in (("ram", None), ("dape", folder / ADAPTERS)):
        tagger = read_ram(folder / WEIGHTS, adapters)
        golden["prepared"] = [rounded(tagger.prepare(image)[0, :, 7::96, 5::96]) for image in images]
        golden[name] = {
            "logits": [rounded(tagger(tagger.prepare(image))[0, ::4]) for image in images],
            "captions": [", ".join(tagger.tags(image)[0]) for image in images],
        }
    Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
