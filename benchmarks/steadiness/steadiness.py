"""How much flicker the temporal blend removes, and what it costs in sharpness. One JSON line for each clip.

python -m benchmarks.steadiness.steadiness CLIP... [--frames 26] [--model lite] [--slices FOLDER] [--latent]

Each clip, a video of good frames, is made small (blur 1.6, x4, noise of sigma 6 fresh in every frame; with and without
H.264 crf 28) and upscaled: bicubic, frame by frame ("off"), and blended. Scores are those of `osediff-video eval`.

excess: (E - E_clean) / (E_off - E_clean) of E_warp, E_clean being the same model on small frames without noise or
H.264. It has a meaning only where E_off is above E_clean; elsewhere null, and the change of E_warp speaks alone.
G, edge_ratio: gradient_kept and edges relative to "off". border: E_warp at the borders of segments of ten frames over
that of the same pairs without borders. Slices: one row of pixels over time, of off | pixel | good frames.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.steadiness.low_quality import NOISE, ImageArrays, good_frames, small_frames
from image_core.models.catalogue import find_model
from image_core.models.load import choose_device, choose_dtype, load_upscaler
from image_core.options import UpscaleOptions
from image_core.upscaler import Upscaler
from osediff_video.metrics.video import VideoScores, dense_flow, warping_error
from osediff_video.options import Temporal, VideoOptions
from osediff_video.temporal.blend import choose_blend, output_of, steadied
from osediff_video.temporal.flow import dis_flow
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame

SEGMENT = 10
SLICE_PX = 480


def drafted(small: ImageArrays, upscaler: Upscaler, revisable: bool) -> list[Step]:
    """Every frame with its motion and the model's image."""
    related = steps([Frame(image, number) for number, image in enumerate(small)], 0, dis_flow)
    return [replace(s, draft=upscaler.drafts([s.frame.image], revisable=revisable)[0]) for s in related]


def blended(done: list[Step], upscaler: Upscaler, temporal: Temporal, strength: float, segment: int) -> ImageArrays:
    blend = choose_blend(VideoOptions(temporal=temporal, temporal_strength=strength), upscaler)
    assert blend is not None
    return [step.output for step in steadied(done, blend, segment) if step.output is not None]


def scores(outputs: ImageArrays, good: ImageArrays) -> dict[str, float]:
    video = VideoScores()
    for output, truth in zip(outputs, good, strict=True):
        video.add(output, truth)
    return video.means()


def border_ratio(whole: ImageArrays, cut: ImageArrays, good: ImageArrays) -> float:
    def errors(outputs: ImageArrays) -> Iterator[float]:
        for n in range(SEGMENT, len(good), SEGMENT):
            flows = dense_flow(good[n], good[n - 1]), dense_flow(good[n - 1], good[n])
            yield warping_error(outputs[n - 1], outputs[n], *flows)[0]

    return sum(errors(cut)) / sum(errors(whole))


def save_slices(path: Path, *videos: ImageArrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    middle = videos[0][0].shape[0] // 2
    left = max(0, videos[0][0].shape[1] - SLICE_PX) // 2
    rows = [np.stack([image[middle, left : left + SLICE_PX] for image in video]) for video in videos]
    strips = [video.repeat(4, 0) for video in rows]
    cv2.imwrite(str(path), np.concatenate(strips)[..., ::-1])


def row(
    good: ImageArrays, h264: bool, upscaler: Upscaler, strength: float, latent: bool, slices: Path | None
) -> dict[str, object]:
    height, width = good[0].shape[:2]
    small = small_frames(good, NOISE, h264)
    done = drafted(small, upscaler, latent)
    videos = {
        "bicubic": [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in small],
        "off": [output_of(step) for step in done],
        "pixel": blended(done, upscaler, "pixel", strength, 10**9),
    }
    if latent:
        videos["latent"] = blended(done, upscaler, "latent", strength, 10**9)
    actual = {name: scores(video, good) for name, video in videos.items()}
    clean = scores([output_of(step) for step in drafted(small_frames(good, 0, False), upscaler, False)], good)
    off, gap = actual["off"], actual["off"]["e_warp"] - clean["e_warp"]
    for name in videos.keys() - {"bicubic", "off"}:
        result = actual[name]
        result["excess"] = (result["e_warp"] - clean["e_warp"]) / gap if gap > 0 else float("nan")
        result["G"] = result["gradient_kept"] / off["gradient_kept"]
        result["edge_ratio"] = result["edges"] / off["edges"]
    actual["clean"] = {"e_warp": clean["e_warp"]}
    actual["pixel"]["border"] = border_ratio(videos["pixel"], blended(done, upscaler, "pixel", strength, SEGMENT), good)
    if slices:
        save_slices(slices, videos["off"], videos["pixel"], good)
    return {
        name: {score: None if np.isnan(value) else round(value, 4) for score, value in values.items()}
        for name, values in actual.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=26)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--strength", type=float, default=VideoOptions.temporal_strength)
    parser.add_argument("--latent", action="store_true")
    parser.add_argument("--slices", type=Path)
    arguments = parser.parse_args()
    bundle, device = find_model(arguments.model), choose_device("auto")
    dtype = choose_dtype("auto", device, bundle.config.alpha_bar)
    upscaler = load_upscaler(bundle, UpscaleOptions(), device=device, dtype=dtype)
    for clip in arguments.clips:
        good = good_frames(clip, arguments.frames)
        for h264 in (False, True):
            name = f"{clip.stem}{'_h264' if h264 else ''}"
            slices = arguments.slices / f"{name}.png" if arguments.slices else None
            actual = row(good, h264, upscaler, arguments.strength, arguments.latent, slices)
            line = {"clip": name, "model": bundle.config.name, "frames": len(good), **actual}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
