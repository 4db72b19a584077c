"""Make training samples: crops of good images or videos, and what a bad camera would have made of them."""

import difflib
import logging
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from image_core.errors import MediaError
from image_core.images import enlarge, to_tensor
from train.config import DataConfig, RecipeError
from train.data.clips import index_video, read_frames
from train.data.codec import Coding, degrade_clip
from train.data.degrade import PRESETS
from train.data.drawings import drawing
from train.data.encoders import Clip
from train.data.files import Sources, caption, find_sources, read_training_image
from train.data.stills import still_clip

CLEAN = "clean"
"""The degradation that leaves an image as it is, for a base model that never sees a bad one."""

VIDEO = "video"
"""A medium degradation whose constants hold for a clip, with fresh noise in every frame, through a video encoder."""

VIDEO_FRAMES = 3
HOLDOUT_SEED = 2026
HELD_OUT_PX = 512
MOST_DRAWS = 100  # for one item: when fewer files exist than may be bad, and all of them are
Caption = TypeVar("Caption", str, list[str])
log = logging.getLogger(__name__)


class Sample(NamedTuple, Generic[Caption]):
    """Hold one sample.

    low: the low quality enlarged again, high: the truth, both (T, 3, crop, crop) in [-1, 1], T = 1 for images.

    caption: what stands in a text file beside the image or video, else nothing. A batch is one too: (B, T, 3, crop,
    crop) and a list of captions.
    """

    low: Tensor
    high: Tensor
    caption: Caption


class ImageCache:
    """Keep the most recently used decoded images, up to `size_bytes`. Small sets stay, large ones pass through."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes, self.held_bytes = size_bytes, 0
        self.held: OrderedDict[Path, NDArray[np.uint8]] = OrderedDict()

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return ImageCache, (self.size_bytes,)  # another process begins with an empty one

    def read(self, path: Path) -> NDArray[np.uint8]:
        if path in self.held:
            self.held.move_to_end(path)
            return self.held[path]
        image = read_training_image(path)
        self.held[path] = image
        self.held_bytes += image.nbytes
        while self.held_bytes > self.size_bytes:
            self.held_bytes -= self.held.popitem(last=False)[1].nbytes
        return image


class Samples(Dataset[Sample[str]]):
    """Provide item n, which depends on files, seed and n alone. Raises RecipeError when too many files are unusable."""

    def __init__(self, sources: Sources, config: DataConfig, seed: int, length: int) -> None:
        self.sources, self.config, self.seed, self.length = sources, config, seed, length
        self.cache = ImageCache(config.cache_mb << 20)
        self.bad: set[Path] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample[str]:
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length}")
        rng = np.random.default_rng((self.seed, index))
        kind = draw_kind(self.config, rng)
        frames, crop_px = frames_to_take(kind, self.config), self.config.crop_px
        if rng.random() < self.config.drawn:
            words, clip = "", image_clip(drawing(2 * crop_px, rng), Path("a drawing"), frames, crop_px, rng)
        else:
            path, clip = self.draw(frames, rng)
            words = caption(path)
        clip = np.rot90(clip, int(rng.integers(4)), (1, 2)) if self.config.turns else clip
        clip = clip[:, :, ::-1] if rng.random() < 0.5 else clip
        clip = vary_colors(clip, rng) if self.config.tones else clip
        low, high = make_pair(np.ascontiguousarray(clip), kind, self.config.codec, rng)
        # of the neighbours that a video needs, the last: it is what the encoder predicted from the others
        return Sample(low[-self.config.frames :], high[-self.config.frames :], words)

    def draw(self, frames: int, rng: Generator) -> tuple[Path, Clip]:
        """Draw a good clip of so many frames.

        In place of one that cannot be used, the next of the same `rng`: the same on every machine. Which files were
        bad is never remembered for that: a video may be damaged in one place only, and what an item holds must not
        depend on the items before.
        """
        images, videos = self.sources
        for _ in range(MOST_DRAWS):
            from_video = bool(videos) and (not images or rng.random() < self.config.clip_share)
            files = videos if from_video else images
            path = files[rng.integers(len(files))]
            try:
                if from_video:
                    return path, video_clip(path, frames, self.config.crop_px, rng)
                return path, image_clip(self.cache.read(path), path, frames, self.config.crop_px, rng)
            except (RecipeError, MediaError) as error:
                if path not in self.bad:
                    log.error("passed over: %s", error)
                self.bad.add(path)
                last = error
            if len(self.bad) > self.config.most_bad:
                break
        count = f"{len(self.bad)} so far; data.most_bad is {self.config.most_bad}"
        raise RecipeError(f"too many unusable files ({count}); the last: {last}") from last


def image_clip(image: NDArray[np.uint8], path: Path, frames: int, crop_px: int, rng: Generator) -> Clip:
    """Cut a random crop, or more frames of it by a moving camera. Raises RecipeError for an image that is too small."""
    check_size(path, image.shape[0], image.shape[1], crop_px)
    if frames > 1:
        return still_clip(image, frames, crop_px, rng)
    return random_crop(image[None], crop_px, rng)


def video_clip(path: Path, frames: int, crop_px: int, rng: Generator) -> Clip:
    """Cut neighbouring frames from anywhere in a video. Raises MediaError, RecipeError if too short or small."""
    index = index_video(path)
    check_size(path, index.info.height, index.info.width, crop_px)
    if len(index.times) < frames:
        raise RecipeError(f"{path}: has {len(index.times)} frames, {frames} neighbours are wanted")
    first = int(rng.integers(len(index.times) - frames + 1))
    return random_crop(read_frames(path, first, frames), crop_px, rng)


def check_size(path: Path, height: int, width: int, crop_px: int) -> None:
    if min(height, width) < crop_px:
        raise RecipeError(f"{path}: {width} x {height} is smaller than crop_px {crop_px}")


def random_crop(clip: Clip, size: int, rng: Generator) -> Clip:
    top, left = (int(rng.integers(side - size + 1)) for side in clip.shape[1:3])
    return clip[:, top : top + size, left : left + size]


def vary_colors(clip: Clip, rng: Generator) -> Clip:
    """Reorder the channels of half of the clips, and squeeze each channel of a quarter into a part of its range.

    What few photographs show, and videos do: the very dark and the very bright, the all but flat, strong colours.
    """
    if rng.random() < 0.5:
        clip = clip[..., rng.permutation(3)]
    if rng.random() < 0.25:
        low, high = np.sort(rng.uniform(0, 255, (2, 3)).astype(np.float32), axis=0)
        clip = np.rint(low + clip * ((high - low) / 255)).astype(np.uint8)
    return clip


def draw_kind(config: DataConfig, rng: Generator) -> str:
    """Draw one of the degradations of the mixture."""
    return list(config.mixture)[rng.choice(len(config.mixture), p=list(config.mixture.values()))]


def frames_to_take(kind: str, config: DataConfig) -> int:
    """Return how many neighbours a sample is made from: a video encoder needs some, whatever is learnt from."""
    return max(config.frames, VIDEO_FRAMES) if kind == VIDEO else config.frames


def make_pair(clip: Clip, kind: str, codec: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return low and high as a Sample holds them, of the sides of `clip`.

    kind: a degradation. codec: chance of a clip to go through a video encoder; "video" always does, no single frame.
    """
    high = to_tensor(list(clip))
    if kind == CLEAN:
        return high, high
    settings, chance = (PRESETS["medium"], 1.0) if kind == VIDEO else (PRESETS[kind], codec)
    low = degrade_clip(clip, settings, Coding(chance if len(clip) > 1 else 0), rng)
    return to_tensor([enlarge(frame, *clip.shape[1:3]) for frame in low]), high


def open_samples(config: DataConfig, seed: int, length: int) -> Samples:
    """Open the samples of all but what is held out. Raises RecipeError for empty folders and lists."""
    known = (*PRESETS, VIDEO, CLEAN)
    for name in config.mixture:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0)
            raise RecipeError(f"data.mixture: unknown degradation {name!r}; did you mean {near[0]!r}?")
    return Samples(find_sources(config)[0], config, seed, length)


def held_out(config: DataConfig) -> list[tuple[Tensor, Tensor]]:
    """Return low and high of the last `holdout` images by name (first frames of videos, where there are no images).

    Each (3, H, W) in [-1, 1]: the middle, sides at most 512 and multiples of 8, degraded with fixed seeds: the same on
    every call. Files that cannot be used are named and left out. Raises RecipeError when none is left.
    """
    pairs = []
    held = find_sources(config)[1]
    for number, image in enumerate(middles(held, config) if config.holdout else []):
        rng = np.random.default_rng((HOLDOUT_SEED, number))
        kind = draw_kind(config, rng)
        still = np.repeat(image[None], VIDEO_FRAMES if kind == VIDEO else 1, axis=0)
        low, high = make_pair(still, kind, config.codec, rng)
        pairs.append((low[-1], high[-1]))
    return pairs


def training_images(config: DataConfig, most: int = 256) -> list[Tensor]:
    """Return the middle of up to `most` training images, evenly spread over all, each (3, H, W) in [-1, 1].

    For what is measured on the material before training. Raises RecipeError when none can be used.
    """
    sources = find_sources(config)[0]
    spread = Sources(*(files[:: max(1, -(-len(files) // most))] for files in sources))
    return [to_tensor([image])[0] for image in middles(spread, config)]


def middles(sources: Sources, config: DataConfig) -> list[NDArray[np.uint8]]:
    """Return the middle of each image or video's first frame. Unusable ones are named; RecipeError if all are."""
    images = []
    for path in sources.images or sources.videos:
        try:
            image = read_training_image(path) if sources.images else read_frames(path, 0, 1)[0]
            check_size(path, image.shape[0], image.shape[1], config.crop_px)
        except (RecipeError, MediaError) as error:
            log.error("passed over: %s", error)
            last = error
            continue
        height, width = (min(side, HELD_OUT_PX) // 8 * 8 for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        images.append(np.ascontiguousarray(image[top : top + height, left : left + width]))
    if not images:
        raise RecipeError(f"none of these {len(sources.images or sources.videos)} files can be used; the last: {last}")
    return images


def collate(samples: list[Sample[str]]) -> Sample[list[str]]:
    low, high = (torch.stack(tensors) for tensors in zip(*(sample[:2] for sample in samples), strict=True))
    return Sample(low, high, [sample.caption for sample in samples])


def training_batches(
    samples: Dataset[Sample[str]], batch: int, first_step: int, workers: int, rank: int = 0, world: int = 1
) -> Iterator[Sample[list[str]]]:
    """Yield batches from step `first_step` on, in the order of the items: a resumed run reads what it would have read.

    Step s takes `batch * world` items from number s * batch * world on; process `rank` of `world` gets its share of
    them, so what a step sees does not depend on the number of processes. Ends before a step that would lack items.
    """
    step = batch * world
    starts = range(first_step * step + rank * batch, len(samples) // step * step, step)  # type: ignore[arg-type]
    options: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": 4} if workers else {}
    loader = DataLoader(
        samples,
        batch_sampler=(list(range(start, start + batch)) for start in starts),
        num_workers=workers,
        worker_init_fn=_one_thread,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        **options,
    )
    try:
        yield from loader
    except RecipeError as error:
        error.__traceback__ = None  # it goes in a circle, and would keep the workers alive
        message = str(error).rpartition("RecipeError: ")[2].strip()  # a worker sends its whole traceback as words
        raise RecipeError(message) from None


def _one_thread(worker: int) -> None:  # noqa: ARG001 - the loader passes the number
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
