"""Comparing what training runs have learnt."""

import torch

from train.state import read_run


def quiet(messages):
    pass


def same(a, b):
    """Equal to the bit, whatever is nested in what."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list | tuple) else a == b


def largest_difference(a, b):
    if isinstance(a, torch.Tensor):
        return float((a.double() - b.double()).abs().max())
    return max((largest_difference(a[key], b[key]) for key in a), default=0.0)


def learnt(folder):
    content = read_run(folder)
    return {key: content[key] for key in ("modules", "optimizers", "average", "step")}
