"""How strongly one loss pulls, measured against another where their gradients meet."""

import torch
from torch import Tensor

MOST = 100.0
"""Bound of the factor: before the critic's first steps VSD is rounding noise, which must not be blown up to a pull."""


def share_of_gradient(loss: Tensor, reference: Tensor, at: Tensor) -> Tensor:
    """|d reference / d at| / |d loss / d at|, over the batches of all processes, at most 100. Scalar, without gradient.

    at: a tensor that both scalars were computed from. After VQGAN, https://arxiv.org/abs/2012.09841, equation 7.
    """
    gradients = [torch.autograd.grad(part, at, retain_graph=True)[0].detach() for part in (reference, loss)]
    squares = torch.stack([gradient.float().square().sum() for gradient in gradients])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(squares)
    norms = squares.sqrt()
    return (norms[0] / norms[1].clamp_min(1e-12)).clamp_max(MOST)
