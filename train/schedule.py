"""Compute the noise schedule of Stable Diffusion (scaled linear, 1000 levels), and that of the learning rate."""

import math

import torch
from torch import Tensor

from train.config import LoopConfig

LEVELS = 1000


def alpha_bars(start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Return the share of signal power left at each timestep, (1000,) float32, computed as diffusers does."""
    betas = torch.linspace(start**0.5, end**0.5, LEVELS, dtype=torch.float32) ** 2
    return torch.cumprod(1 - betas, 0)


def alpha_bar(timestep: int) -> float:
    """Return the share of signal power left at one timestep, in double precision."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, LEVELS, dtype=torch.float64) ** 2
    return float(torch.cumprod(1 - betas, 0)[timestep])


def learning_rate_share(step: int, config: LoopConfig) -> float:
    """Return the share of the learning rate at `step`: up in a line, then constant, or down along a cosine to 1 %."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
