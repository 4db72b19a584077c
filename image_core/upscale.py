"""A batch of pictures, end to end: enlarge, encode, one UNet call, decode, colour fix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psutil
import torch
from torch import Tensor

from image_core import color
from image_core.autoencoder import LATENT_PX
from image_core.errors import OutOfMemoryError
from image_core.generator import Generator
from image_core.images import Picture, crop, enlarge, pad_to_multiple, scaled_size, to_pictures, to_tensor
from image_core.options import UpscaleOptions
from image_core.tiling import run_tiled

SMALLEST_PICTURE_PX = 64  # less is padded: a network that halves its grid thrice needs 8 positions a side
SMALLEST_TILE_PX = 256
MAX_BATCH, MAX_BATCH_CPU = 8, 1  # on a CPU one picture keeps every core busy; eight took 1.8 times as long each


@dataclass(frozen=True)
class Load:
    """How much goes through the model at once. tile_px: None is whole pictures."""

    batch: int
    tile_px: int | None

    def lighter(self, height: int, width: int) -> "Load":
        """Half the batch, then tiles, then smaller tiles. Raises OutOfMemoryError at the end of the ladder."""
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        current = self.tile_px or max(height, width)
        if current <= SMALLEST_TILE_PX:
            raise OutOfMemoryError(
                f"a picture of {width} x {height} does not fit in memory even in tiles of {current} px; "
                "close other programs, use a smaller --scale, or --device cpu"
            )
        return replace(self, tile_px=max(SMALLEST_TILE_PX, current // 2 // LATENT_PX * LATENT_PX))


class Upscaler:
    """Makes pictures larger and better with one generator. Knows nothing of files or time.

    generator, text: on one device, in one dtype; text (1, L, D). bytes_per_pixel: peak memory of the model for each
    output pixel. color_fix: what "auto" stands for. identity: tells one model and precision from
    another. generative: it invents texture. report: told in a sentence when memory forces a lighter load.
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
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.generator, self.text, self.options, self.report = generator, text, options, report
        self.bytes_per_pixel = bytes_per_pixel
        self.color_fix = color_fix if options.color_fix == "auto" else options.color_fix
        self.identity, self.generative = identity, generative
        self.load: Load | None = None

    def plan(self, height: int, width: int) -> Load:
        """Choose batch and tile for output pictures of this size from the memory that is free now."""
        options = self.options
        room_px = int(free_bytes(self.text.device) * 0.6) // self.bytes_per_pixel
        fitting = room_px // (height * width)
        if options.tile_px or fitting:
            most = MAX_BATCH_CPU if self.text.device.type == "cpu" else MAX_BATCH
            return Load(options.batch or min(most, max(1, fitting)), options.tile_px)
        tile_px = max(SMALLEST_TILE_PX, int(room_px**0.5) // LATENT_PX * LATENT_PX)
        self.report(f"{width} x {height} is more than fits in memory: working in tiles of {tile_px} px")
        return Load(options.batch or 1, tile_px)

    def __call__(self, images: Sequence[Picture], size: tuple[int, int] | None = None) -> list[Picture]:
        """images: (H, W, 3) RGB of one size and dtype. Returns as many, exactly scale times larger, same dtype.

        size: height and width of the results, instead of the scale.
        Raises OutOfMemoryError when not even the smallest tile fits.
        """
        if not images:
            return []
        height, width = images[0].shape[:2]
        size = size or scaled_size(height, width, self.options.scale)
        self.load = self.load or self.plan(*size)
        results: list[Picture] = []
        while len(results) < len(images):
            part = images[len(results) : len(results) + self.load.batch]
            try:
                results += self.restore([enlarge(image, *size) for image in part])
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                self.load = self.load.lighter(*size)
                self.report(f"out of memory: going on with batches of {self.load.batch}, tiles {self.load.tile_px} px")
        return results

    @torch.inference_mode()
    def restore(self, enlarged: Sequence[Picture]) -> list[Picture]:
        """One model call on pictures that already have the output size."""
        height, width = enlarged[0].shape[:2]
        parameter = next(self.generator.parameters())
        image = pad_to_multiple(to_tensor(enlarged), LATENT_PX, SMALLEST_PICTURE_PX).to(parameter.device)
        latent = self.clean_latent(image, parameter.dtype)
        picture = crop(self.picture(latent, image), height, width)
        return to_pictures(self.fix_color(picture, crop(image, height, width)), enlarged[0].dtype)

    def clean_latent(self, image: Tensor, dtype: torch.dtype) -> Tensor:
        """image: (B, 3, H, W) in [-1, 1], padded. Returns (B, C, H/8, W/8)."""

        def encode_and_denoise(tile: Tensor) -> Tensor:
            return self.generator.denoise(self.generator.encode(tile.to(dtype)), self.text)

        return self.tiled(encode_and_denoise, [(image, LATENT_PX)], output_px=1)

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

    def fix_color(self, picture: Tensor, reference: Tensor) -> Tensor:
        if self.color_fix == "adain":
            return color.adain(picture, reference)
        return color.wavelet(picture, reference) if self.color_fix == "wavelet" else picture


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors on `device` may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
