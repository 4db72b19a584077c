"""Train the prior: predict the noise in clean latents."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from image_core.images import pad_to_multiple
from train.batch import Batch
from train.item_random import ItemRandom
from train.losses.vsd import add_noise
from train.networks.prior import Prior
from train.schedule import LEVELS, alpha_bars
from train.validation import Validation

CHECKED_LEVELS = (50, 200, 400, 600, 800)


class PriorStage:
    """Predict the noise in clean latents, and learn from the error."""

    def __init__(self, prior: Prior, learning_rate: float) -> None:
        self.learning_rates = {"prior": learning_rate}
        self.modules: dict[str, nn.Module] = {"prior": prior}
        self.latent = prior.latent
        self.alpha_bars = alpha_bars().to(prior.latent.weight.device)

    def losses(self, turn: str, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            clean = self.latent(batch.high)
        timesteps = batch.integers("prior/t", 0, LEVELS)
        noise = batch.normal("prior/noise", clean.shape[1:])
        prediction = self.modules[turn](add_noise(clean, noise, self.alpha_bars[timesteps]), timesteps)
        return {"noise": F.mse_loss(prediction.float(), noise)}

    @torch.no_grad()
    def scores(self, validation: Validation) -> dict[str, float]:
        """Return the error of the predicted noise on held-out images, over that of the best linear guess, by level.

        A whitened latent has unit variance, so the linear guess of the noise errs by abar (Wiener). Below 1, the prior
        knows more of images than their spectrum inside a block.
        """
        errors: dict[int, list[float]] = {level: [] for level in CHECKED_LEVELS}
        prior = next(iter(self.modules.values()))
        for index, (_, high) in enumerate(validation.pairs):
            clean = self.latent(pad_to_multiple(high[None], 64).to(self.alpha_bars.device))
            noise = ItemRandom(0, [index], clean.device).normal("validation", clean.shape[1:])
            for level in CHECKED_LEVELS:
                share = self.alpha_bars[level].expand(1)
                prediction = prior(add_noise(clean, noise, share), torch.full((1,), level, device=clean.device))
                errors[level].append(float(F.mse_loss(prediction.float(), noise) / share))
        return {f"held_out/noise_t{level}": sum(values) / len(values) for level, values in errors.items()}

    def samples(self, validation: Validation) -> list[list[Tensor]]:  # noqa: ARG002
        return []  # a prior makes no images
