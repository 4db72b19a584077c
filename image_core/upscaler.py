"""A batch of images, end to end: enlarge, encode, one UNet call, decode, colour fix."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from image_core import color
from image_core.autoencoder import LATENT_PX
from image_core.color import ColorStats
from image_core.degradation import shares
from image_core.generator import Generator
from image_core.images import (
    ImageArray,
    Values,
    crop,
    enlarge,
    pad_to_multiple,
    scaled_size,
    tensor_to_values,
    to_images,
    to_tensor,
    values_to_tensor,
)
from image_core.keep_tones import keep_tones
from image_core.memory import MAX_BATCH, MAX_BATCH_CPU, SMALLEST_TILE_PX, Workload, free_bytes
from image_core.options import UpscaleOptions
from image_core.prompts.embedding import Prompts
from image_core.prompts.prompter import Prompter, negative_embedding
from image_core.tiling import run_tiled

SMALLEST_IMAGE_PX = 64  # less is padded: a network that halves its grid thrice needs 8 positions a side
T = TypeVar("T")
Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Draft:
    """An image the model made and, where it may be revised, its clean latent and that of the image encoded again.

    image: (H, W, 3). latent, echo: (1, C, h, w), float32, where the model is. They differ by the error of the round
    trip through the latent.
    """

    image: ImageArray
    latent: Tensor | None = None
    echo: Tensor | None = None


class Upscaler:
    """A loaded model with its settings; upscales batches of images. Knows nothing of files or time.

    generator: the network, on one device and in one dtype.
    embedding: default prompt embedding, (1, L, D), on the same device and in the same dtype.
    options: settings of every call.
    bytes_per_pixel: peak memory of the model for each output pixel.
    color_fix: what "auto" stands for.
    identity: text that distinguishes one model and precision from another.
    generative: whether the model invents texture.
    prompter: function that chooses an embedding for each image, in place of `embedding`.
    prompts: function that embeds prompts, for other options.
    negative: embedding that guidance moves away from, like `embedding`.
    report: called with a sentence when memory forces a smaller workload.
    """

    def __init__(
        self,
        generator: Generator,
        embedding: Tensor,
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
        self.generator, self.embedding, self.options, self.report = generator, embedding, options, report
        self.device = embedding.device
        self.bytes_per_pixel = bytes_per_pixel
        self.advised_fix = color_fix
        self.color_fix = color_fix if options.color_fix == "auto" else options.color_fix
        self.identity, self.generative, self.prompter = identity, generative, prompter
        self.prompts, self.negative = prompts, negative
        self.workload: Workload | None = None

    def steered(self, options: UpscaleOptions) -> "Upscaler":
        """The same model, its weights shared, under other options. Raises CheckpointError for texts it cannot read.

        Another prompt is all that it is told: nobody looks at the images for tags.
        """
        assert options.lora_scale == self.options.lora_scale, "adapters are part of the shared weights"
        other = copy.copy(self)
        other.options = options
        other.color_fix = self.advised_fix if options.color_fix == "auto" else options.color_fix
        if self.prompts is not None:
            other.negative = negative_embedding(self.prompts, options)
            if options.prompt != self.options.prompt:
                other.embedding, other.prompter = self.prompts(options.prompt), None
        return other

    def choose_workload(self, height: int, width: int) -> Workload:
        """Choose batch and tile for output images of this size from the memory that is free now."""
        options = self.options
        passes = 1 if self.negative is None else 2
        room_px = int(free_bytes(self.device) * 0.6) // (self.bytes_per_pixel * passes)
        fitting = room_px // (height * width)
        if options.tile_px or fitting:
            most = MAX_BATCH_CPU if self.device.type == "cpu" else MAX_BATCH
            return Workload(options.batch or min(most, max(1, fitting)), options.tile_px)
        tile_px = max(SMALLEST_TILE_PX, int(room_px**0.5) // LATENT_PX * LATENT_PX)
        self.report(f"{width} x {height} is more than fits in memory: working in tiles of {tile_px} px")
        return Workload(options.batch or 1, tile_px)

    def __call__(self, images: Sequence[ImageArray], size: Size | None = None) -> list[ImageArray]:
        """Upscale images; each is taken alone, so nothing keeps them steady in time.

        images: (H, W, 3) RGB of uint8 or uint16, all of one size and type.
        size: height and width of the results, in place of the scale.

        Returns one array for each image, `options.scale` times as large, of the same type.
        Raises OutOfMemoryError when not even the smallest tile fits.
        """
        return [draft.image for draft in self.drafts(images, size)]

    def drafts(
        self,
        images: Sequence[ImageArray],
        size: Size | None = None,
        tones: Sequence[ColorStats] | None = None,
        revisable: bool = False,
        embeddings: Sequence[Tensor] | None = None,
    ) -> list[Draft]:
        """As a call, with tones for the colour fix, one for each image, and with what it takes to revise an image.

        embeddings: (1, L, D), one for each image, where the model's own prompt or prompter is not to choose.
        """
        if not images:
            return []
        size = size or scaled_size(images[0].shape[0], images[0].shape[1], self.options.scale)
        results: list[Draft] = []

        def next_batch(load: Workload) -> list[Draft]:
            part = slice(len(results), len(results) + load.batch)
            enlarged = [enlarge(image, *size) for image in images[part]]
            embedding = torch.cat(list(embeddings[part])) if embeddings else None
            share = self.shares_of(images[part], size)
            return self.restore(enlarged, tones[part] if tones else None, revisable, embedding, share)

        while len(results) < len(images):
            results += self.within_memory(next_batch, size)
        return results

    def within_memory(self, work: Callable[[Workload], T], size: Size) -> T:
        """Do `work`, with less at once whenever memory does not suffice. Raises OutOfMemoryError."""
        while True:
            self.workload = self.workload or self.choose_workload(*size)
            try:
                return work(self.workload)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.workload = self.workload.lighter(*size)
                self.report(
                    f"out of memory: going on with batches of {self.workload.batch}, tiles {self.workload.tile_px} px"
                )

    @torch.inference_mode()
    def restore(
        self,
        enlarged: Sequence[ImageArray],
        tones: Sequence[ColorStats] | None,
        revisable: bool,
        embedding: Tensor | None,
        share: Tensor | None,
    ) -> list[Draft]:
        """One model call on images that already have the output size. share: see `shares`."""
        image = to_tensor(enlarged)
        padded = self.padded(image)
        latent = self.clean_latent(padded, self.embedding_for(image) if embedding is None else embedding, share)
        results = to_images(self.finished(latent, padded, image, tones), enlarged[0].dtype)
        if not revisable:
            return [Draft(result) for result in results]
        echo = self.latent_of(self.padded(to_tensor(results)))
        return [Draft(*parts) for parts in zip(results, latent.split(1), echo.split(1), strict=True)]

    def revise(self, draft: Draft, wanted: Values, guide: Values, tone: ColorStats | None = None) -> Values:
        """What the model would say if its image had come out as `wanted`: decode the latent moved by the difference.

        wanted, guide (the enlarged input): (H, W, 3) in the levels of the draft's image, as is the result.
        Raises OutOfMemoryError.
        """
        white, tones = int(np.iinfo(draft.image.dtype).max), None if tone is None else [tone]

        @torch.inference_mode()
        def work(_: Workload) -> Values:
            assert draft.latent is not None and draft.echo is not None
            image = values_to_tensor(guide, white)
            latent = draft.latent + self.latent_of(self.padded(values_to_tensor(wanted, white))) - draft.echo
            return tensor_to_values(self.finished(latent, self.padded(image), image, tones), white)

        return self.within_memory(work, draft.image.shape[:2])

    def padded(self, image: Tensor) -> Tensor:
        """Where the model is, with sides that it can take."""
        return pad_to_multiple(image, LATENT_PX, SMALLEST_IMAGE_PX).to(self.device)

    def finished(self, latent: Tensor, padded: Tensor, image: Tensor, tones: Sequence[ColorStats] | None) -> Tensor:
        """Decode and give the colours of the input. image: as `padded`, but of the output's size."""
        result = crop(self.decoded(latent, padded), *image.shape[-2:])
        if self.color_fix == "none" and not self.options.keep_tones:
            return result
        reference = image.to(result.device)
        if self.color_fix == "adain":
            result = color.adain(result, reference, tones)
        elif self.color_fix == "wavelet":
            result = color.wavelet(result, reference)
        return keep_tones(result, reference) if self.options.keep_tones else result

    def with_tones_of(self, image: ImageArray, result: ImageArray) -> ImageArray:
        """A result with the tones of the `image` that it was made of, both as files hold them."""
        kept = keep_tones(to_tensor([result]), to_tensor([enlarge(image, *result.shape[:2])]))
        return to_images(kept, result.dtype)[0]

    def embedding_for(self, image: Tensor) -> Tensor:
        """image: enlarged, (B, 3, H, W) in [-1, 1]. Returns the embedding of each, (B, L, D), or of all, (1, L, D)."""
        return self.prompter(image) if self.prompter else self.embedding

    def shares_of(self, images: Sequence[ImageArray], size: Size) -> Tensor | None:
        """How much of the model's work each latent position of images as they came gets; see `shares`."""
        return shares(images, size, self.options, SMALLEST_IMAGE_PX)

    def clean_latent(
        self, image: Tensor, embedding: Tensor, share: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """image: enlarged, (B, 3, H, W) in [-1, 1], padded. embedding: (B or 1, L, D).

        Returns (B, C, H/8, W/8), float32.

        share: of the model's work that each position gets, (B, 1, H/8, W/8) in [0, 1]; None is all of it.
        noise: standard normal, (B, C, H/8, W/8), for a draw from what the encoder holds possible instead of its best.
        """

        def encode_and_denoise(tile: Tensor, *planes: Tensor) -> Tensor:
            tile = tile.to(embedding.dtype)
            if noise is None:
                latent = self.generator.encode(tile)
            else:
                latent = self.generator.encode_draw(tile, planes[-1].to(tile.dtype))
            clean = self.denoised(latent, embedding)
            return clean if share is None else torch.lerp(self.generator.as_clean(latent), clean, planes[0])

        planes = [plane.to(image.device) for plane in (share, noise) if plane is not None]
        inputs = [(image, LATENT_PX), *((plane, 1) for plane in planes)]
        return self.tiled(encode_and_denoise, inputs, output_px=1)

    def denoised(self, latent: Tensor, embedding: Tensor) -> Tensor:
        if self.negative is None:
            return self.generator.denoise(latent, embedding)
        return self.generator.denoise_guided(latent, embedding, self.negative, self.options.guidance)

    def latent_of(self, image: Tensor) -> Tensor:
        """image: as it should come out, (B, 3, H, W), padded. Returns its clean latent, float32."""

        def encode(tile: Tensor) -> Tensor:
            return self.generator.encode_clean(tile.to(self.embedding.dtype))

        return self.tiled(encode, [(image, LATENT_PX)], output_px=1)

    def decoded(self, latent: Tensor, image: Tensor) -> Tensor:
        """latent: (B, C, h, w), clean. image: the enlarged image, (B, 3, 8h, 8w). Returns like image, float32."""

        def decode(latent_tile: Tensor, image_tile: Tensor) -> Tensor:
            return self.generator.decode(latent_tile, image_tile).float()

        return self.tiled(decode, [(latent, 1), (image, LATENT_PX)], output_px=LATENT_PX)

    def tiled(self, function: Callable[..., Tensor], inputs: list[tuple[Tensor, int]], output_px: int) -> Tensor:
        tile_px = self.workload.tile_px if self.workload else self.options.tile_px
        if tile_px is None:
            return function(*(tensor for tensor, _ in inputs))
        return run_tiled(function, inputs, output_px, tile_px // LATENT_PX, self.options.tile_overlap_px // LATENT_PX)
