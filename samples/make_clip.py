"""Draw samples/clip.mp4: two shots with texture, text, motion, a cut and a sound track. Ours, made of code alone.

Run from the project's root: python samples/make_clip.py
"""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

TARGET = Path(__file__).parent / "clip.mp4"
WIDTH, HEIGHT, OVERSAMPLING = 320, 180, 4
FRAMES_PER_SHOT, RATE, AUDIO_RATE = 36, 24, 48_000

Canvas = NDArray[np.float32]


def fractal_noise(height: int, width: int, octaves: int, rng: np.random.Generator) -> Canvas:
    """(height, width) of mean 0: random grids of doubling fineness, each half as strong as the one before."""
    result = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        grid = rng.standard_normal((4 * 2**octave, 7 * 2**octave), dtype=np.float32)
        result += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.5**octave
    return result


def brick_wall(height: int, width: int, rng: np.random.Generator) -> Canvas:
    """(height, width, 3) in [0, 1]: running bond with mortar, every brick its own shade."""
    y, x = np.mgrid[0:height, 0:width]
    row = y // 40
    column = (x + 48 * (row % 2)) // 96
    shade = rng.uniform(0.75, 1.1, (height // 40 + 1, width // 96 + 2)).astype(np.float32)[row, column]
    mortar = ((y % 40) < 5) | (((x + 48 * (row % 2)) % 96) < 5)
    wall = shade[..., None] * np.array((0.62, 0.30, 0.22), np.float32)
    wall[mortar] = (0.68, 0.65, 0.60)
    return wall + 0.035 * fractal_noise(height, width, 8, rng)[..., None]


def street() -> Canvas:
    """A wall with a lettered sign and a window, wider than the frame so that the camera can pan."""
    rng = np.random.default_rng(1)
    scene = brick_wall(HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING + 500, rng)
    cv2.rectangle(scene, (180, 110), (1130, 330), (0.09, 0.23, 0.20), -1)
    cv2.rectangle(scene, (192, 122), (1118, 318), (0.90, 0.82, 0.55), 5, cv2.LINE_AA)
    write(scene, "FIRST LIGHT", (240, 235), 3.6, (0.95, 0.90, 0.74), 10)
    write(scene, "Cinema & Archive, est. 1926", (330, 292), 1.5, (0.90, 0.82, 0.60), 3)
    cv2.rectangle(scene, (1250, 90), (1560, 560), (0.86, 0.85, 0.80), -1)
    for column in range(2):
        for row in range(3):
            left, top = 1275 + column * 140, 115 + row * 145
            cv2.rectangle(scene, (left, top), (left + 120, top + 125), (0.30, 0.42, 0.50 + 0.06 * row), -1)
            cv2.line(scene, (left + 15, top + 95), (left + 85, top + 20), (0.62, 0.72, 0.78), 6, cv2.LINE_AA)
    scene[640:] = np.array((0.42, 0.42, 0.44), np.float32) + 0.05 * fractal_noise(80, scene.shape[1], 8, rng)[..., None]
    return scene


def write(scene: Canvas, text: str, at: tuple[int, int], size: float, color: tuple[float, ...], weight: int) -> None:
    ink = np.zeros(scene.shape[:2], np.uint8)  # OpenCV writes on 8 bits only
    cv2.putText(ink, text, at, cv2.FONT_HERSHEY_DUPLEX, size, 255, weight, cv2.LINE_AA)
    cover = ink[..., None].astype(np.float32) / 255
    scene += cover * (np.array(color, np.float32) - scene)


def meadow(time: float) -> Canvas:
    """Grass blades in the wind under a drifting sky, and a turning wheel of spokes. time in [0, 1]."""
    rng = np.random.default_rng(2)
    height, width = HEIGHT * OVERSAMPLING, WIDTH * OVERSAMPLING
    clouds = fractal_noise(height, width + 200, 7, rng)[:, int(200 * time) :][:, :width]
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = np.array((0.33, 0.52, 0.80), np.float32) * (1 - fade) + np.array((0.85, 0.86, 0.84), np.float32) * fade
    scene = sky + 0.16 * np.clip(clouds, 0, 1)[..., None]
    wheel(scene, (960, 320), 215, time)
    for blade in range(2600):
        root_x, root_y = rng.uniform(-20, width + 20), 430 + 330 * (blade / 2600)
        length = rng.uniform(30, 75) * (0.5 + blade / 2600)
        bend = rng.uniform(-14, 14) + 16 * np.sin(6 * time + root_x / 150)
        green = np.array((0.22, 0.42, 0.12)) * rng.uniform(0.6, 1.5) + np.array((0.10, 0.06, 0.0)) * rng.random()
        tip = (root_x + bend, root_y - length)
        cv2.line(scene, _point((root_x, root_y)), _point(tip), green.tolist(), 3, cv2.LINE_AA, 4)
    return scene


def wheel(scene: Canvas, centre: tuple[int, int], radius: int, time: float) -> None:
    cv2.circle(scene, centre, radius, (0.55, 0.10, 0.12), 14, cv2.LINE_AA)
    for spoke in range(16):
        angle = 2 * np.pi * (spoke / 16 + 0.12 * time)
        end = (centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle))
        cv2.line(scene, centre, (round(end[0]), round(end[1])), (0.92, 0.90, 0.86), 5, cv2.LINE_AA)
    cv2.circle(scene, centre, 26, (0.15, 0.15, 0.17), -1, cv2.LINE_AA)


def _point(xy: tuple[float, float]) -> tuple[int, int]:
    return round(xy[0] * 16), round(xy[1] * 16)  # 4 fractional bits, so that slow motion is smooth


def frames() -> list[NDArray[np.uint8]]:
    """Every frame, (HEIGHT, WIDTH, 3) RGB."""
    scene, size = street(), (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
    drawn = []
    for index in range(FRAMES_PER_SHOT):
        shift = np.array([[1, 0, -30 - 380 * index / FRAMES_PER_SHOT], [0, 1, 0]], np.float64)
        drawn.append(cv2.warpAffine(scene, shift, size, flags=cv2.INTER_LINEAR))
    drawn += [meadow(index / FRAMES_PER_SHOT) for index in range(FRAMES_PER_SHOT)]
    small = [cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for image in drawn]
    return [np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8) for image in small]


def sound(duration_s: float) -> NDArray[np.float32]:
    """(1, samples): four notes with a soft attack, and a fifth at the cut."""
    t = np.arange(int(duration_s * AUDIO_RATE)) / AUDIO_RATE
    mix = np.zeros_like(t)
    for start, pitch in ((0.0, 220.0), (0.5, 277.2), (1.0, 329.6), (1.5, 440.0), (2.0, 554.4)):
        local = np.clip(t - start, 0, None)
        mix += (t >= start) * np.sin(2 * np.pi * pitch * local) * np.exp(-2.5 * local) * np.minimum(local * 50, 1)
    return (0.2 * mix)[None].astype(np.float32)


def main() -> None:
    with av.open(str(TARGET), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, RATE)
        context = video.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        audio = container.add_stream("aac", rate=AUDIO_RATE, layout="mono", bit_rate=64_000)
        for index, image in enumerate(frames()):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", src_color_range="JPEG", dst_color_range="MPEG"
            )
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(sound(2 * FRAMES_PER_SHOT / RATE), "fltp", "mono")
        samples.sample_rate, samples.pts, samples.time_base = AUDIO_RATE, 0, Fraction(1, AUDIO_RATE)
        container.mux(audio.encode(samples))
        container.mux(audio.encode())


if __name__ == "__main__":
    main()
