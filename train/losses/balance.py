"""Measure how strongly one loss pulls against another where their gradients meet."""

import torch
from torch import Tensor

MOST = 100.0
"""Bound of the factor: before the critic's first steps VSD is rounding noise, which must not be blown up to a pull."""


def balanced(loss: Tensor, reference: Tensor, at: Tensor, share: float) -> Tensor:
    """Return `loss` times a factor by which its gradient at `at` is `share` of that of `reference`. Scalar.

    at: a tensor that both scalars were computed from; of `loss`, gradients flow through it alone. The factor is
    |d reference / d at| / |d loss / d at| over the batches of all processes, at most 100.
    After VQGAN, https://arxiv.org/abs/2012.09841, equation 7.
    """
    target, pull = (torch.autograd.grad(scalar, at, retain_graph=True)[0] for scalar in (reference, loss))
    squares = torch.stack([gradient.float().square().sum() for gradient in (target, pull)])
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(squares)
    norms = squares.sqrt()
    factor = share * (norms[0] / norms[1].clamp_min(1e-12)).clamp_max(MOST)
    # the gradient is known by now: an inner product with it spares another way back through what judged
    inner = (at * pull).sum()
    return factor * (loss.detach() + inner - inner.detach())
