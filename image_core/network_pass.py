"""Take one batch through the network, in tiles where they are needed: encode, one UNet call, decode."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from image_core.autoencoder import LATENT_PX
from image_core.device.memory import Workload
from image_core.generator import Generator
from image_core.options import UpscaleOptions
from image_core.tiling import run_tiled

DECODING_BEGINS = 0.43
"""Share of the multiplications of Stable Diffusion that lie before its decoder, at 512 px."""


@dataclass(frozen=True)
class NetworkPass:
    """Run a network under one workload.

    negative: embedding that guidance moves away from, None without guidance.
    workload: None is the tiles of the options.
    progress: called with the share of the batch's work that is done, 0 to 1.
    """

    generator: Generator
    options: UpscaleOptions
    negative: Tensor | None = None
    workload: Workload | None = None
    progress: Callable[[float], None] = lambda _: None

    def clean_latent(
        self,
        image: Tensor,
        embedding: Tensor,
        share: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Compute the clean latent of an image.

        image: enlarged, (B, 3, H, W) in [-1, 1], padded. embedding: (B or 1, L, D).

        Returns (B, C, H/8, W/8), float32.

        share: of the model's work that each position gets, (B, 1, H/8, W/8) in [0, 1]; None is all of it.
        noise: standard normal, (B, C, H/8, W/8), for a draw from what the encoder holds possible instead of its best.
        """

        def encode_and_denoise(tile: Tensor, *planes: Tensor) -> Tensor:
            latent = self.generator.encode(tile) if noise is None else self.generator.encode_draw(tile, planes[-1])
            if not self.options.runs_unet:
                return self.generator.as_clean(latent)
            clean = self.denoised(latent, embedding)
            return clean if share is None else torch.lerp(self.generator.as_clean(latent), clean, planes[0])

        planes = [plane.to(image.device) for plane in (share, noise) if plane is not None]
        inputs = [(image, LATENT_PX), *((plane, 1) for plane in planes)]
        return self.tiled(encode_and_denoise, inputs, 1, (0.0, DECODING_BEGINS))

    def denoised(self, latent: Tensor, embedding: Tensor) -> Tensor:
        if self.negative is None:
            return self.generator.denoise(latent, embedding)
        return self.generator.denoise_guided(latent, embedding, self.negative, self.options.guidance)

    def latent_of(self, image: Tensor) -> Tensor:
        """Encode an image that is as it should come out.

        image: as it should come out, (B, 3, H, W), padded. Returns its clean latent, float32.
        """
        return self.tiled(self.generator.encode_clean, [(image, LATENT_PX)], 1)

    def decoded(self, latent: Tensor, image: Tensor) -> Tensor:
        """Decode a clean latent.

        latent: (B, C, h, w), clean. image: the enlarged image, (B, 3, 8h, 8w). Returns like image, float32.
        """

        def decode(latent_tile: Tensor, image_tile: Tensor) -> Tensor:
            return self.generator.decode(latent_tile, image_tile).float()

        return self.tiled(decode, [(latent, 1), (image, LATENT_PX)], LATENT_PX, (DECODING_BEGINS, 1.0))

    def tiled(
        self,
        function: Callable[..., Tensor],
        inputs: list[tuple[Tensor, int]],
        output_px: int,
        part: tuple[float, float] | None = None,
    ) -> Tensor:
        """Apply `function` in tiles of the workload. part: of the batch's work, for `progress`."""

        def report_share(share: float) -> None:
            if part:
                begin, end = part
                self.progress(begin + (end - begin) * share)

        tile_px = self.workload.tile_px if self.workload else self.options.tile_px
        if tile_px is None:
            result = function(*(tensor for tensor, _ in inputs))
            report_share(1.0)
            return result
        overlap = self.options.tile_overlap_px // LATENT_PX
        return run_tiled(function, inputs, output_px, tile_px // LATENT_PX, overlap, report_share)
