"""Make one short clip of each kind of material that has a preset, with the truth beside it.

The good frames are of clips that no model was trained on. What happens to them is what happens to the kind: fields and
MPEG-2, tape's bandwidths and noise, a phone's sensor and hasty encoder, a messenger's rate, grain before the scanner.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.quality.drawn_pages import line_art
from benchmarks.steadiness.low_quality import good_frames
from image_core.images import ImageArray

FRAMES = 16
RATE = 25
SIDES = (384, 512)
"""Height and width of the truth at most: a part from the middle."""

Frames = list[ImageArray]
Make = Callable[[Frames, int], tuple[Frames, Frames]]
"""From good frames and the scale to the truth and the frames of the clip, both of the same number."""


@dataclass(frozen=True)
class Coded:
    """How a clip is encoded. fields: two moments in each frame, of which the file says nothing."""

    codec: str
    options: dict[str, str]
    fields: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of material. preset: its name. clip: what the good frames are of. scale: of the truth to the clip."""

    preset: str
    clip: str
    scale: int
    make: Make
    coded: Coded


def levels(image: np.ndarray) -> ImageArray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def small(image: ImageArray, scale: int, blur: float = 0.6) -> np.ndarray:
    """Make an image small as a lens and a sensor do, in float."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), blur * scale / 2)
    return cv2.resize(soft, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA)


def each(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Make:
    """Return what makes every frame small and then does `change` to it, with noise that is fresh in every frame."""

    def make(good: Frames, scale: int) -> tuple[Frames, Frames]:
        rng = np.random.default_rng(18)
        return good, [levels(change(small(image, scale), rng)) for image in good]

    return make


def woven(good: Frames, scale: int) -> tuple[Frames, Frames]:
    """Weave two moments into each frame, the upper lines of the first: the truth is the first."""
    lows = [small(image, scale) for image in good]
    pairs = list(zip(lows[0::2], lows[1::2], strict=True))
    frames = [levels(np.where(np.arange(len(a))[:, None, None] % 2 == 0, a, b)) for a, b in pairs]
    return good[0::2], frames


def taped(good: Frames, scale: int) -> tuple[Frames, Frames]:
    """As `woven`, through the bandwidths of VHS: 240 lines of luma, 40 of chroma that comes late, noise of both."""
    truth, frames = woven(good, scale)
    rng = np.random.default_rng(18)
    return truth, [on_tape(frame, rng) for frame in frames]


def on_tape(image: ImageArray, rng: np.random.Generator) -> ImageArray:
    y, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32))
    y = cv2.GaussianBlur(y, (0, 0), sigmaX=0.9, sigmaY=1e-3) + rng.normal(0, 5, y.shape)
    y += 0.5 * (y - cv2.GaussianBlur(y, (0, 0), sigmaX=1.5, sigmaY=1e-3))  # the player's sharpening
    chroma = []
    for plane in (cr, cb):
        streaks = cv2.GaussianBlur(rng.normal(0, 14, plane.shape).astype(np.float32), (0, 0), sigmaX=4, sigmaY=0.6)
        chroma.append(np.roll(cv2.GaussianBlur(plane, (0, 0), sigmaX=4, sigmaY=1e-3), 2, axis=1) + streaks)
    return cv2.cvtColor(cv2.merge([levels(plane) for plane in (y, *chroma)]), cv2.COLOR_YCrCb2RGB)


def by_phone(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise that is stronger in the dark, and the sharpening that hides it."""
    noisy = image + rng.normal(0, 1, image.shape) * (2 + 4 * (1 - image / 255))
    return noisy + 0.8 * (noisy - cv2.GaussianBlur(noisy, (0, 0), 1.0))


def grainy(good: Frames, scale: int) -> tuple[Frames, Frames]:
    """Grain of about two pixels of the truth, fresh in every frame: it is part of the truth."""
    rng = np.random.default_rng(18)
    truth = []
    for image in good:
        grain = cv2.GaussianBlur(rng.normal(0, 1, image.shape[:2]).astype(np.float32), (0, 0), 0.8)
        truth.append(levels(image + (grain * 7 / grain.std())[..., None]))
    return truth, [levels(small(image, scale, 0.4)) for image in truth]


def drawn(good: Frames, scale: int) -> tuple[Frames, Frames]:  # noqa: ARG001 - drawn here
    """Ink and flat colours that a camera pans over, every drawing shown twice."""
    page = line_art(3, 640)
    truth = [page[4 * (n // 2) :][: SIDES[0], 6 * (n // 2) :][:, : SIDES[1]] for n in range(FRAMES)]
    truth = [np.ascontiguousarray(image) for image in truth]
    return truth, [levels(small(image, scale)) for image in truth]


def unchanged(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG001 - nothing to draw
    return image


X264 = "libx264"
DISC = Coded("mpeg2video", {"qmin": "5", "qmax": "5"}, fields=True)
"""Flagged progressive, as many discs are."""

KINDS = {
    "DVD, slow pan": Kind("dvd", "bench/Vid4/calendar_GT_rgb_ffv1.mkv", 2, woven, DISC),
    "DVD, motion": Kind("dvd", "video/clips/sam2_01_dog.mp4", 2, woven, DISC),
    "tape": Kind("vhs", "video/clips/sam2_03_blocks.mp4", 2, taped, Coded(X264, {"crf": "18"}, True)),
    "phone": Kind(
        "phone", "video/clips/sam2_01_dog.mp4", 2, each(by_phone), Coded(X264, {"crf": "24", "preset": "ultrafast"})
    ),
    "drawings": Kind("animation", "", 4, drawn, Coded(X264, {"crf": "24"})),
    "web": Kind("web", "video/clips/sam2_05_default_juggle.mp4", 4, each(unchanged), Coded(X264, {"crf": "30"})),
    "film scan": Kind("film-scan", "bench/Vid4/foliage_GT_rgb_ffv1.mkv", 2, grainy, Coded(X264, {"crf": "8"})),
    "archive": Kind("archive", "bench/Vid4/foliage_GT_rgb_ffv1.mkv", 2, each(unchanged), Coded(X264, {"crf": "14"})),
}  # fmt: skip


def clip_of(kind: Kind, data: Path, path: Path) -> Frames:
    """Write the clip of a kind, and return the truth of each of its frames."""
    count = 2 * FRAMES if kind.coded.fields else FRAMES
    good = [middle(image) for image in good_frames(data / kind.clip, count)] if kind.clip else []
    truth, frames = kind.make(good, kind.scale)
    write(path, frames, kind.coded)
    return truth


def middle(image: ImageArray) -> ImageArray:
    top, left = ((side - most) // 2 if side > most else 0 for side, most in zip(image.shape[:2], SIDES, strict=True))
    return np.ascontiguousarray(image[top : top + SIDES[0], left : left + SIDES[1]])


def write(path: Path, frames: Sequence[ImageArray], coded: Coded) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream(coded.codec, rate=RATE, options=dict(coded.options))
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"  # type: ignore[assignment]
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
