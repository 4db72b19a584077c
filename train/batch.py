"""Hold what one training step learns from."""

from dataclasses import dataclass, field

from torch import Tensor

from train.item_random import ItemRandom


@dataclass
class Batch:
    """Hold the frames of one step and what the turns of the step leave for each other.

    Frames of B items, T frames each, on the device of the model; images have T = 1.

    low, high: (B * T, 3, H, W) in [-1, 1], low already enlarged. captions: B. step: of the run, from 0.
    text (B * T, L, D), made_latent, made_image: what the generator's turn leaves, without gradient, for the next.
    judged: how much the discriminator may ask of each frame, (B * T,) in [0, 1].
    """

    low: Tensor
    high: Tensor
    captions: list[str]
    frames: int
    draws: ItemRandom
    step: int
    embedding: Tensor = field(init=False)
    made_latent: Tensor = field(init=False)
    made_image: Tensor = field(init=False)
    judged: Tensor = field(init=False)

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Return standard normal noise, fresh for every frame, (B * T, *shape)."""
        return self.draws.normal(purpose, (self.frames, *shape)).flatten(0, 1)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """Return one number in [low, high) for each item, shared by its frames, (B * T,)."""
        return self.draws.integers(purpose, low, high).repeat_interleave(self.frames)
