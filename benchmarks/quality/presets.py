"""Hold each preset against no preset, on one short clip of its kind: `benchmarks/quality/preset_kinds.py` makes them.

python -m benchmarks.quality.presets --data FOLDER [--kinds KIND ...] [--set image.strength=0.9 ...]

Both sides are whole runs of `upscale` at the same size: the video that a user gets, its encoder included. "none" is
the command without a preset. Prints one JSON line for each kind and side: vgg, distance of the shift-tolerant LPIPS on
VGG16 (every fourth frame); psnr_y; flicker, the change of the error between neighbouring frames in levels; kilobytes of
the result. set: changes a preset, to find a better one.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.quality.bars import Distance, machine, vgg_distance
from benchmarks.quality.preset_kinds import KINDS, Frames, Kind, clip_of
from osediff_video import Preset, read_preset, upscale
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.metrics.artifacts import error_flicker
from osediff_video.metrics.image import luma, psnr
from osediff_video.workflow.presets import checked

EACH = 4


def run(clip: Path, preset: Preset, scale: int, target: Path) -> Frames:
    """Upscale a clip as the command does with a preset, and return the frames of the result."""
    upscale(
        clip,
        target,
        model=preset.model,
        options=replace(preset.image, scale=float(scale)),
        video=preset.video,
        encoding=preset.encoding,
    )
    return [frame.image.astype(np.uint8, copy=False) for frame in VideoSource(probe(target)).frames()]


def scores(result: Frames, truth: Frames, distance: Distance) -> dict[str, float]:
    pairs = list(zip(result, truth, strict=True))
    return {
        "vgg": round(float(np.mean([distance(a, b) for a, b in pairs[::EACH]])), 4),
        "psnr_y": round(float(np.mean([psnr(luma(a), luma(b)) for a, b in pairs])), 3),
        "flicker": round(error_flicker(result, truth), 3),
    }


def changed(preset: Preset, words: Sequence[str]) -> Preset:
    """Return a preset with settings such as image.strength=0.9 or model="lite" changed."""
    for word in words:
        name, _, value = word.partition("=")
        table, _, key = name.partition(".")
        if not key:
            preset = replace(preset, **{table: value})
            continue
        settings = getattr(preset, table)
        parsed = checked(json.loads(value), type(settings).__annotations__[key], word)
        preset = replace(preset, **{table: replace(settings, **{key: parsed})})
    return preset


def compare(kind: Kind, data: Path, distance: Distance, words: Sequence[str]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip, found = folder / "clip.mkv", {}
        truth = clip_of(kind, data, clip)
        sides = {"none": Preset("none"), kind.preset: changed(read_preset(kind.preset), words)}
        for side, preset in sides.items():
            target = folder / f"{side}.mkv"
            result = run(clip, preset, kind.scale, target)
            found[side] = scores(result, truth, distance) | {"kilobytes": round(target.stat().st_size / 1000, 1)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--set", nargs="+", default=[], dest="words", metavar="NAME=VALUE")
    arguments = parser.parse_args()
    distance = vgg_distance()
    for name in arguments.kinds:
        for side, found in compare(KINDS[name], arguments.data, distance, arguments.words).items():
            row = {"kind": name, "preset": side, **found, **machine()}
            print(json.dumps(row | ({"set": arguments.words} if arguments.words else {})), flush=True)


if __name__ == "__main__":
    main()
