"""A batch of pictures, end to end: enlarge, encode, one UNet call, decode, colour fix."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from image_core import color
from image_core.autoencoder import LATENT_PX
from image_core.color import Tone
from image_core.degradation import shares
from image_core.generator import Generator
from image_core.images import (
    Picture,
    Values,
    crop,
    enlarge,
    pad_to_multiple,
    scaled_size,
    tensor_to_values,
    to_pictures,
    to_tensor,
    values_to_tensor,
)
from image_core.keep_tones import keep_tones
from image_core.memory import MAX_BATCH, MAX_BATCH_CPU, SMALLEST_TILE_PX, Load, free_bytes
from image_core.options import UpscaleOptions
from image_core.prompts.prompter import Prompter, negative_text
from image_core.prompts.text import Prompts
from image_core.tiling import run_tiled

SMALLEST_PICTURE_PX = 64  # less is padded: a network that halves its grid thrice needs 8 positions a side
T = TypeVar("T")
Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Draft:
    """A picture the model made and, where it may be revised, its clean latent and that of the picture encoded again.

    picture: (H, W, 3). latent, echo: (1, C, h, w), float32, where the model is. They differ by the error of the round
    trip through the latent.
    """

    picture: Picture
    latent: Tensor | None = None
    echo: Tensor | None = None


class Upscaler:
    """Makes pictures larger and better with one generator. Knows nothing of files or time.

    generator, text: on one device, in one dtype; text (1, L, D). bytes_per_pixel: peak memory of the model for each
    output pixel. color_fix: what "auto" stands for. identity: tells one model and precision from another. generative:
    it invents texture. prompter: finds a text for each picture, instead of `text`. prompts: make a text of words, for
    other options. negative: like text, what guidance leads away from. report: told in a sentence when memory forces a
    lighter load.
    """

    def __init__(
        self,
        generator: Generator,
        text: Tensor,
        options: UpscaleOptions,
        *,
        bytes_per_pixel: int,
        color_fix: str = "none",
        identity: str = "",
        generative: bool = False,
        prompter: Prompter | None = None,
        prompts: Prompts | None = None,
        negative: Tensor | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.generator, self.text, self.options, self.report = generator, text, options, report
        self.device = text.device
        self.bytes_per_pixel = bytes_per_pixel
        self.advised_fix = color_fix
        self.color_fix = color_fix if options.color_fix == "auto" else options.color_fix
        self.identity, self.generative, self.prompter = identity, generative, prompter
        self.prompts, self.negative = prompts, negative
        self.load: Load | None = None

    def steered(self, options: UpscaleOptions) -> "Upscaler":
        """The same model, its weights shared, under other options. Raises CheckpointError for texts it cannot read.

        Another prompt is all that it is told: nobody looks at the pictures for tags.
        """
        assert options.lora_scale == self.options.lora_scale, "adapters are part of the shared weights"
        other = copy.copy(self)
        other.options = options
        other.color_fix = self.advised_fix if options.color_fix == "auto" else options.color_fix
        if self.prompts is not None:
            other.negative = negative_text(self.prompts, options)
            if options.prompt != self.options.prompt:
                other.text, other.prompter = self.prompts(options.prompt), None
        return other

    def plan(self, height: int, width: int) -> Load:
        """Choose batch and tile for output pictures of this size from the memory that is free now."""
        options = self.options
        passes = 1 if self.negative is None else 2
        room_px = int(free_bytes(self.device) * 0.6) // (self.bytes_per_pixel * passes)
        fitting = room_px // (height * width)
        if options.tile_px or fitting:
            most = MAX_BATCH_CPU if self.device.type == "cpu" else MAX_BATCH
            return Load(options.batch or min(most, max(1, fitting)), options.tile_px)
        tile_px = max(SMALLEST_TILE_PX, int(room_px**0.5) // LATENT_PX * LATENT_PX)
        self.report(f"{width} x {height} is more than fits in memory: working in tiles of {tile_px} px")
        return Load(options.batch or 1, tile_px)

    def __call__(self, images: Sequence[Picture], size: Size | None = None) -> list[Picture]:
        """images: (H, W, 3) RGB of one size and dtype. Returns as many, exactly scale times larger, same dtype.

        size: height and width of the results, instead of the scale.
        Raises OutOfMemoryError when not even the smallest tile fits.
        """
        return [draft.picture for draft in self.drafts(images, size)]

    def drafts(
        self,
        images: Sequence[Picture],
        size: Size | None = None,
        tones: Sequence[Tone] | None = None,
        revisable: bool = False,
        texts: Sequence[Tensor] | None = None,
    ) -> list[Draft]:
        """As a call, with tones for the colour fix, one for each image, and with what it takes to revise a picture.

        texts: (1, L, D), one for each image, where the model's own prompt or prompter is not to choose.
        """
        if not images:
            return []
        size = size or scaled_size(images[0].shape[0], images[0].shape[1], self.options.scale)
        results: list[Draft] = []

        def next_batch(load: Load) -> list[Draft]:
            part = slice(len(results), len(results) + load.batch)
            enlarged = [enlarge(image, *size) for image in images[part]]
            text = torch.cat(list(texts[part])) if texts else None
            share = self.shares_of(images[part], size)
            return self.restore(enlarged, tones[part] if tones else None, revisable, text, share)

        while len(results) < len(images):
            results += self.within_memory(next_batch, size)
        return results

    def within_memory(self, work: Callable[[Load], T], size: Size) -> T:
        """Do `work`, with less at once whenever memory does not suffice. Raises OutOfMemoryError."""
        while True:
            self.load = self.load or self.plan(*size)
            try:
                return work(self.load)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.load = self.load.lighter(*size)
                self.report(f"out of memory: going on with batches of {self.load.batch}, tiles {self.load.tile_px} px")

    @torch.inference_mode()
    def restore(
        self,
        enlarged: Sequence[Picture],
        tones: Sequence[Tone] | None,
        revisable: bool,
        text: Tensor | None,
        share: Tensor | None,
    ) -> list[Draft]:
        """One model call on pictures that already have the output size. share: see `shares`."""
        image = to_tensor(enlarged)
        padded = self.padded(image)
        latent = self.clean_latent(padded, self.text_for(image) if text is None else text, share)
        pictures = to_pictures(self.finished(latent, padded, image, tones), enlarged[0].dtype)
        if not revisable:
            return [Draft(picture) for picture in pictures]
        echo = self.latent_of(self.padded(to_tensor(pictures)))
        return [Draft(*parts) for parts in zip(pictures, latent.split(1), echo.split(1), strict=True)]

    def revise(self, draft: Draft, wanted: Values, guide: Values, tone: Tone | None = None) -> Values:
        """What the model would say if its picture had come out as `wanted`: decode the latent moved by the difference.

        wanted, guide (the enlarged input): (H, W, 3) in the levels of the draft's picture, as is the result.
        Raises OutOfMemoryError.
        """
        white, tones = int(np.iinfo(draft.picture.dtype).max), None if tone is None else [tone]

        @torch.inference_mode()
        def work(_: Load) -> Values:
            assert draft.latent is not None and draft.echo is not None
            image = values_to_tensor(guide, white)
            latent = draft.latent + self.latent_of(self.padded(values_to_tensor(wanted, white))) - draft.echo
            return tensor_to_values(self.finished(latent, self.padded(image), image, tones), white)

        return self.within_memory(work, draft.picture.shape[:2])

    def padded(self, image: Tensor) -> Tensor:
        """Where the model is, with sides that it can take."""
        return pad_to_multiple(image, LATENT_PX, SMALLEST_PICTURE_PX).to(self.device)

    def finished(self, latent: Tensor, padded: Tensor, image: Tensor, tones: Sequence[Tone] | None) -> Tensor:
        """Decode and give the colours of the input. image: as `padded`, but of the output's size."""
        picture = crop(self.picture(latent, padded), *image.shape[-2:])
        if self.color_fix == "none" and not self.options.keep_tones:
            return picture
        reference = image.to(picture.device)
        if self.color_fix == "adain":
            picture = color.adain(picture, reference, tones)
        elif self.color_fix == "wavelet":
            picture = color.wavelet(picture, reference)
        return keep_tones(picture, reference) if self.options.keep_tones else picture

    def with_tones_of(self, image: Picture, picture: Picture) -> Picture:
        """A result with the tones of the picture `image` that it was made of, both as files hold them."""
        kept = keep_tones(to_tensor([picture]), to_tensor([enlarge(image, *picture.shape[:2])]))
        return to_pictures(kept, picture.dtype)[0]

    def text_for(self, image: Tensor) -> Tensor:
        """image: enlarged, (B, 3, H, W) in [-1, 1]. Returns the text of each, (B, L, D), or of all, (1, L, D)."""
        return self.prompter(image) if self.prompter else self.text

    def shares_of(self, images: Sequence[Picture], size: Size) -> Tensor | None:
        """How much of the model's work each latent position of pictures as they came gets; see `shares`."""
        return shares(images, size, self.options, SMALLEST_PICTURE_PX)

    def clean_latent(
        self, image: Tensor, text: Tensor, share: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """image: enlarged, (B, 3, H, W) in [-1, 1], padded. text: (B or 1, L, D). Returns (B, C, H/8, W/8), float32.

        share: of the model's work that each position gets, (B, 1, H/8, W/8) in [0, 1]; None is all of it.
        noise: standard normal, (B, C, H/8, W/8), for a draw from what the encoder holds possible instead of its best.
        """

        def encode_and_denoise(tile: Tensor, *planes: Tensor) -> Tensor:
            tile = tile.to(text.dtype)
            if noise is None:
                latent = self.generator.encode(tile)
            else:
                latent = self.generator.encode_draw(tile, planes[-1].to(tile.dtype))
            clean = self.denoised(latent, text)
            return clean if share is None else torch.lerp(self.generator.as_clean(latent), clean, planes[0])

        planes = [plane.to(image.device) for plane in (share, noise) if plane is not None]
        inputs = [(image, LATENT_PX), *((plane, 1) for plane in planes)]
        return self.tiled(encode_and_denoise, inputs, output_px=1)

    def denoised(self, latent: Tensor, text: Tensor) -> Tensor:
        if self.negative is None:
            return self.generator.denoise(latent, text)
        return self.generator.denoise_guided(latent, text, self.negative, self.options.guidance)

    def latent_of(self, picture: Tensor) -> Tensor:
        """picture: as it should come out, (B, 3, H, W), padded. Returns its clean latent, float32."""

        def encode(tile: Tensor) -> Tensor:
            return self.generator.encode_clean(tile.to(self.text.dtype))

        return self.tiled(encode, [(picture, LATENT_PX)], output_px=1)

    def picture(self, latent: Tensor, image: Tensor) -> Tensor:
        """latent: (B, C, h, w), clean. image: the enlarged picture, (B, 3, 8h, 8w). Returns like image, float32."""

        def decode(latent_tile: Tensor, image_tile: Tensor) -> Tensor:
            return self.generator.decode(latent_tile, image_tile).float()

        return self.tiled(decode, [(latent, 1), (image, LATENT_PX)], output_px=LATENT_PX)

    def tiled(self, function: Callable[..., Tensor], inputs: list[tuple[Tensor, int]], output_px: int) -> Tensor:
        tile_px = self.load.tile_px if self.load else self.options.tile_px
        if tile_px is None:
            return function(*(tensor for tensor, _ in inputs))
        return run_tiled(function, inputs, output_px, tile_px // LATENT_PX, self.options.tile_overlap_px // LATENT_PX)
