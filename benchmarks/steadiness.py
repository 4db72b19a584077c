"""How much flicker the temporal blend removes, and what it costs in sharpness. One JSON line for each clip.

python -m benchmarks.steadiness CLIP... [--frames 16] [--model lite] [--slices FOLDER]

Each clip, a film of good frames, is made small (blur 1.6, x4, noise of sigma 6 fresh in every frame; with and without
H.264 crf 28) and upscaled frame by frame, then blended.

E: warping error against the flow of the good frames, with the occlusion mask of Lai et al. 2018.
excess: (E_on - E_clean) / (E_off - E_clean), E_clean being the same model on small frames without noise or H.264; it
means nothing where E_off is already below E_clean.
G: gradient kept against the good frames, relative to no blend. edges: gradient on the strongest tenth of their edges,
likewise. Slices: one row of pixels over time, of no blend | blend | good frames.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from image_core.catalogue import choose_device, choose_dtype, find_model, load_upscaler
from image_core.images import Picture
from image_core.options import UpscaleOptions
from image_core.upscale import Upscaler
from osediff_video.media.probe import probe
from osediff_video.media.reader import FilmSource
from osediff_video.metrics import gradient_kept, gradients, luma, psnr, warping_error
from osediff_video.flow import dis_flow
from osediff_video.temporal import PixelBlend, steadied, steps
from osediff_video.types import Frame

SCALE, BLUR, NOISE = 4, 1.6, 6.0
Pictures = list[Picture]


def good_frames(path: Path, count: int) -> Pictures:
    """The first `count`, cropped to a multiple of 32."""
    found = []
    for frame in FilmSource(probe(path)).frames():
        height, width = (side // 32 * 32 for side in frame.image.shape[:2])
        found.append(frame.image[:height, :width])
        if len(found) == count:
            break
    return found


def small_frames(good: Pictures, noise: float, h264: bool) -> Pictures:
    draw, found = np.random.default_rng(0), []
    for image in good:
        blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), BLUR)[::SCALE, ::SCALE]
        noisy = blurred + draw.normal(0, noise, blurred.shape) if noise else blurred
        found.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return through_h264(found) if h264 else found


def through_h264(frames: Pictures) -> Pictures:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "28"})
            stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"  # type: ignore[assignment]
            for number, image in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return [frame.image for frame in FilmSource(probe(path)).frames()]


def film_warping_error(outputs: Pictures, good: Pictures) -> float:
    parts = [warping_error(outputs[n - 1], outputs[n], good[n - 1], good[n]) for n in range(1, len(good))]
    return sum(error for error, _ in parts) / sum(weight for _, weight in parts)


def sharpness(outputs: Pictures, good: Pictures) -> tuple[float, float]:
    """Gradient kept, and gradient magnitude on the strongest tenth of the good frames' edges."""
    kept, edges = [], []
    for output, truth in zip(outputs, good, strict=True):
        a, b = gradients(output), gradients(truth)
        kept.append(gradient_kept(output, truth))
        size = np.hypot(b[..., 0], b[..., 1])
        strong = size >= np.quantile(size, 0.9)
        edges.append(np.hypot(a[..., 0], a[..., 1])[strong].mean())
    return float(np.mean(kept)), float(np.mean(edges))


def blend_all(small: Pictures, outputs: Pictures, strength: float) -> tuple[Pictures, float]:
    """As a film does, and seconds a frame."""
    frames = [Frame(image, number) for number, image in enumerate(small)]
    started = time.perf_counter()
    related = steps(frames, 0, with_motion=True)
    upscaled = (replace(step, output=output) for step, output in zip(related, outputs, strict=True))
    calm = steadied(upscaled, Blend.of(strength, generative=False), segment_frames=10**9)
    done = [step.output for step in calm if step.output is not None]
    return done, (time.perf_counter() - started) / len(small)


def row(good: Pictures, h264: bool, upscaler: Upscaler, strength: float, slices: Path | None) -> dict[str, object]:
    small = small_frames(good, NOISE, h264)
    started = time.perf_counter()
    off = [upscaler([image])[0] for image in small]
    model_s = (time.perf_counter() - started) / len(small)
    clean = [upscaler([image])[0] for image in small_frames(good, 0, h264=False)]
    on, blend_s = blend_all(small, off, strength)
    errors = {
        name: film_warping_error(pictures, good) for name, pictures in (("off", off), ("on", on), ("clean", clean))
    }
    (kept_off, edges_off), (kept_on, edges_on) = sharpness(off, good), sharpness(on, good)
    scores = {
        name: float(np.mean([psnr(luma(a), luma(b)) for a, b in zip(pictures, good, strict=True)]))
        for name, pictures in (("off", off), ("on", on))
    }
    if slices:
        slices.parent.mkdir(parents=True, exist_ok=True)
        middle = good[0].shape[0] // 2
        strips = [np.stack([p[middle] for p in pictures]).repeat(6, 0) for pictures in (off, on, good)]
        cv2.imwrite(str(slices), np.concatenate(strips)[..., ::-1])
    return {
        "e_warp": {name: round(value * 1e4, 3) for name, value in errors.items()},
        "excess": round((errors["on"] - errors["clean"]) / (errors["off"] - errors["clean"]), 3),
        "G": round(kept_on / kept_off, 4),
        "edges": round(edges_on / edges_off, 4),
        "psnr_y": {name: round(value, 3) for name, value in scores.items()},
        "model_s": round(model_s, 3),
        "blend_s": round(blend_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--strength", type=float, default=0.7)
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
            line = {"clip": name, "frames": len(good), **row(good, h264, upscaler, arguments.strength, slices)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
