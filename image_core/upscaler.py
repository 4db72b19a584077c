"""Upscale a batch of images, end to end: enlarge, encode, one UNet call, decode, colour fix."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import TypeVar

import torch
from torch import Tensor

from image_core import color
from image_core.autoencoder import LATENT_PX
from image_core.color import ColorStats
from image_core.degradation import shares
from image_core.device.bicubic import enlarge_levels
from image_core.device.memory import Planner, Size, Workload, attempt, give_back_cache
from image_core.device.precision import check_result, is_finite, with_more_precision
from image_core.device.transfer import Landing, upload
from image_core.device.workers import Crew, Workers
from image_core.drafts import AnyImage, AnyValues, Draft, Pending
from image_core.errors import NotFiniteError
from image_core.generator import Generator
from image_core.images import (
    ImageArray,
    crop,
    enlarge,
    from_levels,
    pad_to_multiple,
    peak,
    scaled_size,
    tensor_to_values,
    to_images,
    to_levels,
    to_tensor,
    values_to_tensor,
    white_of,
)
from image_core.keep_tones import keep_tones
from image_core.network_pass import NetworkPass
from image_core.options import UpscaleOptions
from image_core.prompts.embedding import Prompts
from image_core.prompts.prompter import Prompter, negative_embedding

SMALLEST_IMAGE_PX = 64  # less is padded: a network that halves its grid thrice needs 8 positions a side
T = TypeVar("T")


class Upscaler:
    """Upscale batches of images with a loaded model and its settings. Knows nothing of files or time.

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
    report: called with a sentence when memory forces a smaller workload, or half precision runs over.

    Threads may share one. `progress` may be set to a function that is called with
    the share of the present batch that is done, 0 to 1.
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
        self.advised_fix = color_fix
        self.color_fix = color_fix if options.color_fix == "auto" else options.color_fix
        self.identity, self.generative, self.prompter = identity, generative, prompter
        self.prompts, self.negative = prompts, negative
        self.planner, self.workers = Planner(self.device, bytes_per_pixel), Workers(self.device)
        self.progress: Callable[[float], None] = lambda _: None

    def steered(self, options: UpscaleOptions) -> "Upscaler":
        """Return the same model, its weights shared, under other options.

        Raises CheckpointError for texts it cannot read.

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

    def workload_for(self, height: int, width: int) -> Workload:
        """Return how much goes through the model at once for outputs of this size; known before the first batch."""
        return self.planner.plan((height, width), self.options, self.passes, self.report, self.workers.count)

    @property
    def passes(self) -> int:
        """Return how many passes of the UNet an image takes, in one batch."""
        return 1 if self.negative is None else 2

    def crew_for(self, height: int, width: int, threads: int | None = None) -> Crew:
        """Return how many workers make outputs of this size. threads: of each, where a job began so."""
        return self.planner.crew((height, width), self.options, self.passes, threads)

    def use_workload(self, height: int, width: int, workload: Workload) -> None:
        """Use the workload that an interrupted job began with, whatever memory is free; a shortage still lowers it.

        How many images workers have at once changes no bit, and stays what this machine can do.
        """
        if self.workers.is_active:
            workload = replace(workload, batch=self.workload_for(height, width).batch)
        self.planner.fix((height, width), workload)

    def __call__(self, images: Sequence[ImageArray], size: Size | None = None) -> list[ImageArray]:
        """Upscale images; each is taken alone, so nothing keeps them steady in time.

        images: (H, W, 3) RGB of uint8 or uint16, all of one size and type.
        size: height and width of the results, in place of the scale.

        Returns one array for each image, `options.scale` times as large, of the same type.
        Raises OutOfMemoryError when not even the smallest tile fits.
        """
        landings = [Landing(draft.image) for draft in self.drafts(images, size)]
        return [landing.array() for landing in landings]

    def drafts(
        self,
        images: Sequence[ImageArray],
        size: Size | None = None,
        tones: Sequence[ColorStats] | None = None,
        revisable: bool = False,
        embeddings: Sequence[Tensor] | None = None,
    ) -> list[Draft]:
        """Upscale images as a call does, with tones for the colour fix, one per image, and what it takes to revise one.

        embeddings: (1, L, D), one for each image, where the model's own prompt or prompter is not to choose.
        """
        if not images:
            return []
        size = size or scaled_size(images[0].shape[0], images[0].shape[1], self.options.scale)
        if self.workers.is_active:
            each = zip(images, tones or repeat(None), embeddings or repeat(None))  # noqa: B905 - endless
            pending = [self.begin(image, size, tone, revisable, embedding) for image, tone, embedding in each]
            return [draft.result(place) for place, draft in enumerate(pending)]
        results: list[Draft] = []

        def next_batch(load: Workload) -> list[Draft]:
            part = slice(len(results), len(results) + load.batch)
            tones_of, texts = tones[part] if tones else None, embeddings[part] if embeddings else None
            return self.draft_batch(images[part], size, tones_of, revisable, texts, load)

        while len(results) < len(images):
            try:
                results += self.within_memory(next_batch, size)
            except NotFiniteError as error:
                raise NotFiniteError(len(results) + error.index) from error
        return results

    def begin(
        self,
        image: ImageArray,
        size: Size,
        tone: ColorStats | None = None,
        revisable: bool = False,
        embedding: Tensor | None = None,
    ) -> Pending:
        """Let a worker make the draft of one image, as `drafts` does; waits while all of them have enough to do."""
        load, workers = self.workload_for(*size), self.workers

        def work(load: Workload) -> Draft:
            tones, texts = None if tone is None else [tone], None if embedding is None else [embedding]
            return self.draft_batch([image], size, tones, revisable, texts, load)[0]

        def attempted() -> tuple[Draft | None, bool]:
            try:
                return attempt(partial(work, load))
            except NotFiniteError:
                return None, True

        # one more for each: whoever is done goes on at once
        self.planner.gate.enter(load.batch if load.batch < workers.count else 2 * workers.count)
        future = workers.submit(attempted)
        future.add_done_callback(lambda _: self.planner.gate.leave())

        def again(enough: bool) -> Draft:
            with self.planner.gate.alone():  # whatever is tried changes how all compute
                if not enough and self.workload_for(*size) == load:
                    self.lower(size, load)
                return self.within_memory(work, size)

        return Pending(future, again)

    def begin_batch(
        self,
        images: Sequence[ImageArray],
        size: Size,
        tones: Sequence[ColorStats] | None = None,
        revisable: bool = False,
        embeddings: Sequence[Tensor] | None = None,
    ) -> Callable[[], list[Draft]]:
        """Let a device make the drafts of one batch, as `drafts` does; return what waits for them.

        Meanwhile the next may begin, so that the device does not wait for the CPU. A CPU begins when it is waited for.
        """
        make = partial(self.drafts, images, size, tones, revisable, embeddings)
        if self.device.type == "cpu" or not images:
            return make
        finite: list[Landing] = []

        def look_later(result: Tensor) -> None:
            finite.append(Landing(is_finite(result)))

        load = self.workload_for(*size)
        with self.planner.gate.alone():
            begun, _ = attempt(
                lambda: self.draft_batch(images, size, tones or None, revisable, embeddings, load, look_later)
            )

        def drafts() -> list[Draft]:
            if begun is not None and all(flag.array() for flag in finite):
                return begun
            return make()  # with less at once, or in more precision

        return drafts

    @torch.inference_mode()
    def draft_batch(
        self,
        images: Sequence[ImageArray],
        size: Size,
        tones: Sequence[ColorStats] | None,
        revisable: bool,
        embeddings: Sequence[Tensor] | None,
        load: Workload,
        check: Callable[[Tensor], None] = check_result,
    ) -> list[Draft]:
        """Upscale images by one call of the model, under one workload. check: see `finished`."""
        sources = self.arrived(images)
        image, network = self.enlarged(sources, size), self.network(load)
        padded, share = self.padded(image), self.shares_of(images, size)
        embedding = torch.cat(list(embeddings)) if embeddings else self.embedding_for(image)
        latent = network.clean_latent(padded, embedding, share)
        levels = to_levels(self.finished(latent, padded, size, tones, load, check), peak(images[0]))
        results: Iterable[AnyImage] = levels.unbind() if isinstance(sources, Tensor) else levels.numpy()
        kept = sources.unbind() if isinstance(sources, Tensor) else repeat(None)
        drafts = [Draft(result, source=source) for result, source in zip(results, kept)]  # noqa: B905 - endless
        if not revisable:
            return drafts
        echo = network.latent_of(self.padded(from_levels(levels)))
        parts = zip(drafts, latent.split(1), echo.split(1), strict=True)
        return [replace(draft, latent=own, echo=again) for draft, own, again in parts]

    def arrived(self, images: Sequence[ImageArray]) -> Sequence[ImageArray] | Tensor:
        """Return images where the model is: as they are on a CPU, in a stack on a device."""
        return images if self.device.type == "cpu" else upload(images, self.device)

    def enlarged(self, sources: Sequence[ImageArray] | Tensor, size: Size) -> Tensor:
        """Return images at the output's size, (B, 3, H, W) in [-1, 1], where they are: arrays, or a stack of them."""
        if not isinstance(sources, Tensor):
            return to_tensor([enlarge(image, *size) for image in sources])
        values = enlarge_levels(sources, *size).to(memory_format=torch.channels_last)
        return values * (2 / white_of(sources)) - 1

    def within_memory(self, work: Callable[[Workload], T], size: Size) -> T:
        """Do `work`, with less at once whenever memory does not suffice, in more precision where half runs over.

        Raises OutOfMemoryError or NotFiniteError.
        """

        def work_with_less() -> T:
            workload = self.workload_for(*size)
            while True:
                result, enough = attempt(partial(work, workload))
                if enough:
                    return result  # type: ignore[return-value]
                workload = self.lower(size, workload)

        self.workers.set_threads()
        with self.planner.gate.alone():
            return with_more_precision(self.generator, work_with_less, self._report_once)

    def lower(self, size: Size, failed: Workload) -> Workload:
        """Return what to try after a shortage, and say so. Raises OutOfMemoryError."""
        give_back_cache(self.device)
        workload = self.planner.lower(size, failed)
        self.report(f"out of memory: going on with batches of {workload.batch}, tiles {workload.tile_px} px")
        return workload

    def _report_once(self, sentence: str) -> None:
        if sentence not in self.planner.reported:
            self.planner.reported.add(sentence)
            self.report(sentence)

    def revise(self, draft: Draft, requested: AnyValues, guide: AnyValues, tone: ColorStats | None = None) -> AnyValues:
        """Return the model's image if it had come out as `wanted`: decode the latent moved by the difference.

        requested, guide (the enlarged input): (H, W, 3) in the levels of the draft's image, as is the result.
        Raises OutOfMemoryError.
        """
        white, tones = white_of(draft.image), None if tone is None else [tone]

        @torch.inference_mode()
        def work(load: Workload) -> Tensor:
            assert draft.latent is not None and draft.echo is not None
            padded = self.padded(values_to_tensor(guide, white))
            moved = self.network(load).latent_of(self.padded(values_to_tensor(requested, white)))
            latent = draft.latent + moved - draft.echo
            return tensor_to_values(self.finished(latent, padded, tuple(guide.shape[:2]), tones, load), white)

        result = self.within_memory(work, tuple(draft.image.shape[:2]))
        return result if isinstance(draft.image, Tensor) else result.cpu().numpy()

    def network(self, load: Workload | None = None) -> NetworkPass:
        """Return what runs the network under a workload; None is as the options say."""
        return NetworkPass(self.generator, self.options, self.negative, load, self.progress)

    def padded(self, image: Tensor) -> Tensor:
        """Move an image to the model's device and pad it to sides that it can take."""
        return pad_to_multiple(image, LATENT_PX, SMALLEST_IMAGE_PX).to(self.device)

    def finished(
        self,
        latent: Tensor,
        padded: Tensor,
        size: Size,
        tones: Sequence[ColorStats] | None,
        load: Workload | None = None,
        check: Callable[[Tensor], None] = check_result,
    ) -> Tensor:
        """Decode, crop to the output's size and give the colours of the input. padded: the enlarged input.

        check: raises NotFiniteError, now or later: one such pixel would spread over all in the colour fix, and be black
            in the end.
        """
        result = crop(self.network(load).decoded(latent, padded), *size)
        check(result)
        if self.color_fix == "none" and not self.options.keep_tones:
            return result
        reference = crop(padded, *size)  # already there: the input is not copied to the device twice
        if self.color_fix == "adain":
            result = color.adain(result, reference, tones)
        elif self.color_fix == "wavelet":
            result = color.wavelet(result, reference)
        return keep_tones(result, reference) if self.options.keep_tones else result

    @torch.inference_mode()
    def with_tones_of(self, source: AnyImage, result: AnyImage) -> AnyImage:
        """Return a result with the tones of what it was made of, both in whole levels and in the same place."""
        height, width = result.shape[:2]
        reference = self.enlarged(source[None] if isinstance(source, Tensor) else [source], (height, width))
        if isinstance(result, Tensor):
            return to_levels(keep_tones(from_levels(result[None]), reference), white_of(result))[0]
        return to_images(keep_tones(to_tensor([result]), reference), result.dtype)[0]

    def embedding_for(self, image: Tensor) -> Tensor:
        """Choose the embedding of images.

        image: enlarged, (B, 3, H, W) in [-1, 1]. Returns the embedding of each, (B, L, D), or of all, (1, L, D).
        """
        return self.prompter(image) if self.prompter else self.embedding

    def shares_of(self, images: Sequence[ImageArray], size: Size) -> Tensor | None:
        """Return how much of the model's work each latent position of images as they came gets; see `shares`."""
        return shares(images, size, self.options, SMALLEST_IMAGE_PX)
