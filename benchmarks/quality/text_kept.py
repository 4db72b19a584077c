"""Measure how much text survives: ten pages of text, made small and enlarged again, read by PP-OCR.

python -m benchmarks.quality.text_kept [--model lite lite-faithful ...] [--count 10]

The pages are those of the set "text" of `benchmarks.quality.bars`: lines of 12 px and more, made small by four by area,
and stored as JPEG of quality 80. Prints one JSON line for each method: text, the mean over the pages of the share of
characters that are still read (as `osediff-video eval --text`); exact, the share of lines that are read without a
fault; characters, how many there are. bicubic is the plain enlargement, truth the page itself. Needs
pip install 'osediff-video[ocr]'.

`lite` reads no prompt, so that --prompt-mode tags+text cannot help it: what is read is its work on strokes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.bar_sets import SETS, Sample
from benchmarks.quality.bars import machine
from benchmarks.quality.methods import Method, bicubic, model, peer, peers_folder
from image_core.images import ImageArray
from image_core.prompts.written import Line, Reader, load_reader
from osediff_video.metrics.text import text_kept

PEERS = {"realesr-animevideov3": "realesr-animevideov3-x4", "x4plus": "realesrgan-x4plus"}


def exact_lines(reader: Reader, lines: Sequence[Line], image: ImageArray) -> float:
    """Return the share of lines that are read in an image without a fault, spaces left out."""
    pairs = [(line.text, reader.recognised(image, line.box)) for line in lines]
    return float(np.mean(["".join(a.split()) == "".join(b.split()) for a, b in pairs]))


def measure(method: Method | None, samples: Sequence[Sample], reader: Reader) -> dict[str, float]:
    """Return the scores of one method; None is the truth itself."""
    score, rows, characters = text_kept(reader), [], 0
    for sample in samples:
        truth = sample.truths[0]
        result, lines = truth if method is None else method(sample.lows[0]), reader.lines(truth)
        characters += sum(len("".join(line.text.split())) for line in lines)
        rows.append((score(result, truth), exact_lines(reader, lines, result)))
    text, exact = np.mean(rows, axis=0)
    return {"text": round(float(text), 3), "exact": round(float(exact), 3), "characters": characters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lite", "lite-faithful"])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--without", nargs="+", choices=list(PEERS), default=[])
    arguments = parser.parse_args()
    samples, reader = list(SETS["text"](Path(), arguments.count)), load_reader()
    methods: dict[str, Method | None] = {"bicubic": bicubic}
    methods |= {name: peer(peers_folder(), stem) for name, stem in PEERS.items() if name not in arguments.without}
    methods |= {name: model(name) for name in arguments.model} | {"truth": None}
    for name, method in methods.items():
        found = measure(method, samples, reader)
        print(json.dumps({"method": name, "samples": len(samples), **found, **machine()}), flush=True)


if __name__ == "__main__":
    main()
