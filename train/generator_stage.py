"""Train the generator on its target images and on what a diffusion model holds for likely.

OSEDiff, https://arxiv.org/abs/2406.08177: data loss and latent VSD for the generator, then the critic on what it made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.autoencoder import LATENT_PX
from train.batch import Batch
from train.config import LossConfig, Recipe
from train.losses import vsd
from train.losses.artifacts import beads, block_grid, regular_pattern, stipple
from train.losses.balance import balanced
from train.losses.contours import crookedness
from train.losses.discriminator import PatchDiscriminator, feature_matching, hinge_discriminator, hinge_generator
from train.losses.pixel import charbonnier
from train.losses.spared import judged, relative_errors
from train.losses.vsd import Score
from train.losses.warp import warp_consistency
from train.networks.captions import CaptionEncoder
from train.networks.lite import BlockLatent
from train.networks.restorer import Restorer
from train.schedule import LEVELS
from train.validation import Validation


@dataclass
class Parts:
    """Hold what the losses of the recipe need; None where it does not ask for it. All on one device.

    alpha_bars: (1000,). latent: the target's latent, for the latent loss.
    """

    restorer: Restorer
    captions: CaptionEncoder
    alpha_bars: Tensor
    score: Score | None = None
    discriminator: PatchDiscriminator | None = None
    lpips: nn.Module | None = None
    latent: BlockLatent | None = None


class GeneratorStage:
    """Take turns: "generator", then "critic" (with VSD), then "discriminator" (with an adversarial loss)."""

    def __init__(self, recipe: Recipe, parts: Parts) -> None:
        self.recipe, self.parts = recipe, parts
        learnt = {"generator": parts.restorer, "critic": parts.score, "discriminator": parts.discriminator}
        self.modules: dict[str, nn.Module] = {name: module for name, module in learnt.items() if module is not None}
        rates = {"critic": recipe.vsd.critic_learning_rate}
        self.learning_rates = {name: rates.get(name, recipe.loop.learning_rate) for name in self.modules}
        self.draw_latent = recipe.model == "sd21" and recipe.sd21.draw_latent

    def losses(self, turn: str, batch: Batch) -> dict[str, Tensor]:
        if turn == "generator":
            return self.generator_losses(batch)
        return self.critic_losses(batch) if turn == "critic" else self.discriminator_losses(batch)

    def generator_losses(self, batch: Batch) -> dict[str, Tensor]:
        config, parts = self.recipe.loss, self.parts
        batch.embedding = parts.captions(batch.captions).repeat_interleave(batch.frames, 0)
        height, width = (side // 8 for side in batch.low.shape[-2:])
        noise = batch.normal("posterior", (parts.restorer.latent_channels, height, width)) if self.draw_latent else None
        clean, image = self.modules["generator"](batch.low, batch.embedding, noise)
        clean, image = clean.float(), image.float()
        batch.made_latent, batch.made_image = clean.detach(), image.detach()
        batch.judged = torch.ones(len(batch.low), device=batch.low.device)

        losses = {"pixel": config.pixel_weight * pixel_loss(config, image, batch.high)}
        if config.spared:
            low_error, error = relative_errors(batch.high, batch.low, image)
            batch.judged = judged(low_error, config.spared)
            if config.honest:
                losses["honest"] = config.honest * ((1 - batch.judged) * error).mean()
        if parts.lpips is not None:
            losses["lpips"] = self.perceptual_loss(parts.lpips, image, batch, losses["pixel"])
        if parts.latent is not None:
            losses["latent"] = config.latent * F.l1_loss(clean, parts.latent(batch.high))
        if config.grid:
            losses["grid"] = config.grid * block_grid(image, batch.high)
        if config.beads:
            losses["beads"] = config.beads * beads(image, batch.high)
        if config.pattern:
            losses["pattern"] = config.pattern * regular_pattern(image, batch.high)
        if config.stipple:
            losses["stipple"] = config.stipple * stipple(image, batch.high)
        if config.contours:
            losses["contours"] = config.contours * crookedness(image, batch.high)
        if config.warp and batch.frames > 1:
            clips = (frames.unflatten(0, (-1, batch.frames)) for frames in (image, batch.high))
            losses["warp"] = config.warp * warp_consistency(*clips)
        if parts.score is not None and batch.step >= self.recipe.vsd.from_step:
            losses["vsd"] = self._weighted(self.vsd_loss(clean, batch), losses["pixel"], clean, self.recipe.vsd.weight)
        return losses | (self.adversarial_losses(image, batch, losses["pixel"]) if parts.discriminator else {})

    def perceptual_loss(self, distance: nn.Module, image: Tensor, batch: Batch, pixel: Tensor) -> Tensor:
        images, side_px = [image, batch.high], self.recipe.loss.lpips_px
        if not side_px and self.recipe.model == "lite":  # whose blocks would learn the pattern of the strides
            side_px = image.shape[-1] - LATENT_PX
        if side_px:
            images = parts_of(batch, "lpips", side_px, *images)
        return self._weighted(distance(*images).mean(), pixel, image, self.recipe.loss.lpips)

    def vsd_loss(self, clean: Tensor, batch: Batch) -> Tensor:
        config = self.recipe.vsd
        return vsd.generator_loss(
            self.modules["critic"],
            clean,
            noise=batch.normal("vsd/noise", clean.shape[1:]),
            timesteps=batch.integers("vsd/t", config.low, config.high),
            alpha_bars=self.parts.alpha_bars,
            embedding=batch.embedding,
            negative=self.parts.captions([config.negative_prompt]).expand(len(clean), -1, -1),
            guidance=config.guidance,
        )

    def critic_losses(self, batch: Batch) -> dict[str, Tensor]:
        latent = batch.made_latent
        noise, timesteps = batch.normal("critic/noise", latent.shape[1:]), batch.integers("critic/t", 0, LEVELS)
        loss = vsd.critic_loss(
            self.modules["critic"],
            latent,
            noise=noise,
            timesteps=timesteps,
            alpha_bars=self.parts.alpha_bars,
            embedding=batch.embedding,
        )
        return {"critic": loss}

    def adversarial_losses(self, image: Tensor, batch: Batch, pixel: Tensor) -> dict[str, Tensor]:
        config, discriminator = self.recipe.loss, self.parts.discriminator
        assert discriminator is not None
        high, result = self.shown("adversarial", batch, image)
        # the bare module, and frozen: this turn moves the generator alone, and no wrapper may wait for gradients
        with frozen(discriminator):
            with torch.no_grad():
                _, real = discriminator(high)
            verdict, fake = discriminator(result)
        losses = {}
        if config.adversarial:
            losses["adversarial"] = self._weighted(
                hinge_generator(verdict, batch.judged), pixel, image, config.adversarial
            )
        if config.feature_matching:
            matching = feature_matching(real, fake)
            losses["features"] = self._weighted(matching, pixel, image, config.feature_matching)
        return losses

    def discriminator_losses(self, batch: Batch) -> dict[str, Tensor]:
        # one call for both: a wrapper expects one forward for each backward
        images = torch.cat(self.shown("discriminator", batch, batch.made_image))
        real, fake = self.modules["discriminator"](images)[0].float().chunk(2)
        return {"discriminator": hinge_discriminator(real, fake, batch.judged)}

    def shown(self, name: str, batch: Batch, image: Tensor) -> list[Tensor]:
        """Return what the discriminator sees of the good images and of `image`, (B, 3, H, W) each."""
        images = [batch.high, image]
        if self.recipe.loss.discriminator == "grey":
            images = [each.mean(1, keepdim=True).expand_as(each) for each in images]
        return parts_of(batch, name, image.shape[-1] - LATENT_PX, *images)

    def _weighted(self, loss: Tensor, pixel: Tensor, at: Tensor, weight: float) -> Tensor:
        """Return the loss times its weight, or so that its gradient at `at` is that share of the pixel loss's."""
        return balanced(loss, pixel, at, weight) if self.recipe.loss.balance else weight * loss

    def image(self, low: Tensor) -> Tensor:
        """Restore one batch of images.

        low: (B, 3, H, W) in [-1, 1]. Returns the like, clamped; from the bare generator, without captions.
        """
        embedding = self.parts.captions([""])
        return self.parts.restorer(low, embedding)[1].float().clamp(-1, 1)

    def scores(self, validation: Validation) -> dict[str, float]:
        return validation.scores(self.image)

    def samples(self, validation: Validation) -> list[list[Tensor]]:
        return validation.shown(self.image)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Keep gradients from the weights of `module`, whatever is computed with it inside."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def parts_of(batch: Batch, name: str, side_px: int, *images: Tensor) -> list[Tensor]:
    """Cut the same part of each image, (B, 3, side_px, side_px), for every item another.

    Strided layers leave a pattern of their stride in the gradient. Were it always in the same place, the generator,
    which makes blocks of 8 x 8 pixels, would learn to print it.
    """
    space = batch.high.shape[-1] - side_px
    downs, rights = (batch.integers(f"{name}/{axis}", 0, max(1, space)).tolist() for axis in ("y", "x"))
    return [
        torch.stack([p[:, y : y + side_px, x : x + side_px] for p, y, x in zip(image, downs, rights, strict=True)])
        for image in images
    ]


def pixel_loss(config: LossConfig, image: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(image, target) if config.pixel == "mse" else charbonnier(image, target)
