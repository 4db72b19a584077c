"""What was tried to remove flicker, on the same clips: one JSON line for each candidate and clip.

python -m benchmarks.steadiness.candidates CLIP... [--frames 16] [--model lite]

The clips are those of benchmarks.steadiness, with noise. E_ratio: warping error over that of no blend. G, edges:
gradient kept and edge gradient over those of no blend. psnr_db: change. ms: flow and blend, a frame, on one thread.
The product has pixel .7; all else is held against pixel .6, which it had before.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.steadiness.low_quality import NOISE, ImageArrays, good_frames, small_frames
from benchmarks.steadiness.steadiness import scores
from image_core.models.catalogue import find_model
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from image_core.upscaler import Draft, Upscaler
from osediff_video.temporal import flow as flows
from osediff_video.temporal.blend import Blend, LatentBlend, PixelBlend, State, motion_at, output_of, steadied
from osediff_video.temporal.flow import Estimator, Motion, dis_flow, positions, warp
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame, ImageArray

PIXEL = PixelBlend(0.6, 0.6)
FAST, MEDIUM = cv2.DISOPTICAL_FLOW_PRESET_FAST, cv2.DISOPTICAL_FLOW_PRESET_MEDIUM


def preset(which: int, enlarged: int = 1, sigma: float = flows.SMOOTHING_PX) -> Estimator:
    """DIS with a preset as it is, on luma that is perhaps enlarged first."""

    def prepared(image: ImageArray) -> np.ndarray:
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        luma = cv2.resize(luma, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
        return cv2.GaussianBlur(luma, (0, 0), sigma)

    def estimate(source: ImageArray, target: ImageArray) -> flows.Flow:
        large = cv2.DISOpticalFlow.create(which).calc(prepared(source), prepared(target), None)
        return cv2.resize(large, source.shape[1::-1], interpolation=cv2.INTER_AREA) / enlarged

    return estimate


@dataclass(frozen=True)
class BilinearBlend(PixelBlend):
    def mixed(self, current: np.ndarray, previous: np.ndarray, large: Motion) -> np.ndarray:
        place = positions(*large.flow.shape[:2]) + large.flow
        moved = cv2.remap(previous, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return cv2.blendLinear(current, moved, 1 - self.low * large.confidence, self.low * large.confidence)


@dataclass(frozen=True)
class WarpedLatentBlend:
    """The latent itself is moved, as published: at an eighth of the size, where a position is no image element."""

    upscaler: Upscaler
    weight: float
    nearest: bool

    def begin(self, step: Step) -> State:
        assert step.draft is not None and step.draft.latent is not None
        return State(output_of(step).astype(np.float32), step.draft.latent[0].permute(1, 2, 0).numpy())

    def carry(self, state: State, step: Step) -> State:
        assert step.draft is not None and step.draft.latent is not None and state.guide is not None
        current = step.draft.latent[0].permute(1, 2, 0).numpy()
        height, width = current.shape[:2]
        large = motion_at(step)
        flow = cv2.resize(large.flow, (width, height), interpolation=cv2.INTER_AREA) / 8
        sure = cv2.resize(large.confidence, (width, height), interpolation=cv2.INTER_AREA)
        if self.nearest:
            flow, sure = np.rint(flow), (sure > 0.5).astype(np.float32)
        moved = np.concatenate(
            [
                warp(np.ascontiguousarray(part), flow)
                for part in np.split(state.guide, max(1, state.guide.shape[-1] // 4), -1)
            ],
            -1,
        )
        latent = current + self.weight * sure[..., None] * (moved - current)
        decoded = self.decoded(step.draft, latent, step)
        return State(decoded, latent)

    @torch.inference_mode()
    def decoded(self, draft: Draft, latent: np.ndarray, step: Step) -> np.ndarray:
        from image_core.images import enlarge, tensor_to_values, to_tensor

        image = to_tensor([enlarge(step.frame.image, *draft.image.shape[:2])])
        return tensor_to_values(
            self.upscaler.image(torch.from_numpy(latent).permute(2, 0, 1)[None], image), 255
        ).numpy()


def trusting(step: Step) -> Step:
    """Every motion is believed."""
    return (
        step
        if step.motion is None
        else replace(step, motion=replace(step.motion, confidence=step.motion.confidence * 0 + 1))
    )


def hard(step: Step) -> Step:
    """All or nothing."""
    if step.motion is None:
        return step
    return replace(step, motion=replace(step.motion, confidence=(step.motion.confidence > 0.5).astype(np.float32)))


def as_it_is(step: Step) -> Step:
    return step


Candidate = tuple[str, Blend, Estimator, Callable[[Step], Step]]


def candidates(upscaler: Upscaler) -> list[Candidate]:
    result: list[Candidate] = [
        ("pixel .6", PIXEL, dis_flow, as_it_is),
        ("pixel .4", PixelBlend(0.4, 0.4), dis_flow, as_it_is),
        ("pixel .7 (the product)", PixelBlend(0.7, 0.7), dis_flow, as_it_is),
        ("pixel .85", PixelBlend(0.85, 0.85), dis_flow, as_it_is),
        ("pixel, two bands .85 .3", PixelBlend(0.85, 0.3), dis_flow, as_it_is),
        ("pixel .6, bilinear warp", BilinearBlend(0.6, 0.6), dis_flow, as_it_is),
        ("pixel .6, no confidence", PIXEL, dis_flow, trusting),
        ("pixel .6, hard confidence", PIXEL, dis_flow, hard),
        ("pixel .6, DIS fast on twice the size", PIXEL, preset(FAST, 2, 1.5), as_it_is),
        ("pixel .6, DIS medium on twice the size", PIXEL, preset(MEDIUM, 2, 1.5), as_it_is),
        ("pixel .6, DIS fast", PIXEL, preset(FAST), as_it_is),
        ("pixel .6, DIS medium", PIXEL, preset(MEDIUM), as_it_is),
        ("latent .6, round trip taken out", LatentBlend(PIXEL, upscaler), dis_flow, as_it_is),
        (
            "latent, two bands .85 .3, round trip taken out",
            LatentBlend(PixelBlend(0.85, 0.3), upscaler),
            dis_flow,
            as_it_is,
        ),
        ("latent warped bicubic .6", WarpedLatentBlend(upscaler, 0.6, False), dis_flow, as_it_is),
        ("latent warped nearest .5, hard (published)", WarpedLatentBlend(upscaler, 0.5, True), dis_flow, as_it_is),
    ]
    return result


def measure(good: ImageArrays, upscaler: Upscaler, name: str) -> None:
    frames = [Frame(image, number) for number, image in enumerate(small_frames(good, NOISE, False))]
    drafts = [upscaler.drafts([frame.image], revisable=True)[0] for frame in frames]
    off = scores([draft.image for draft in drafts], good)
    for label, blend, estimate, change in candidates(upscaler):
        started = time.process_time()
        related = (change(step) for step in steps(frames, 0, estimate))
        drafted = (replace(step, draft=draft) for step, draft in zip(related, drafts, strict=True))
        outputs = [step.output for step in steadied(drafted, blend, 10**9) if step.output is not None]
        each_ms = (time.process_time() - started) / len(frames) * 1e3
        on = scores(outputs, good)
        line = {
            "candidate": label,
            "clip": name,
            "E_ratio": round(on["e_warp"] / off["e_warp"], 3),
            "G": round(on["gradient_kept"] / off["gradient_kept"], 3),
            "edges": round(on["edges"] / off["edges"], 3),
            "psnr_db": round(on["psnr_y"] - off["psnr_y"], 3),
            "ms": round(each_ms, 1),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--model", default="lite")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    bundle = find_model(arguments.model)
    upscaler = load_upscaler(bundle, UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    for clip in arguments.clips:
        measure(good_frames(clip, arguments.frames), upscaler, f"{clip.stem} {bundle.config.name}")


if __name__ == "__main__":
    main()
