"""Measure distances between images."""

import torch
from torch import Tensor


def charbonnier(result: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of sqrt(d^2 + epsilon^2): the absolute error with a smooth bottom. Scalar. Shapes must agree."""
    if result.shape != target.shape:
        raise ValueError(f"result and target must match, got {tuple(result.shape)} and {tuple(target.shape)}")
    return torch.sqrt((result - target).square() + epsilon**2).mean()
