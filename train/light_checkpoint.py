"""Store a checkpoint in less than half its size: what a run needs to go on, though not in the same bits.

Of each learnt weight 7 bytes are kept instead of 16: the weight itself; its average, as the difference to the weight in
a byte; and AdamW's second moment in bfloat16. The first moment, which ten steps forget, begins at zero again. Of a run
that is at its end only the averaged weights are kept, in half precision, as in a bundle.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.state import RUN_FORMAT, averaged, read_run

THIN = f"thin {RUN_FORMAT}"
Content = dict[str, Any]


def save_thin(content: Content, path: Path, finished: bool) -> None:
    """Write a light checkpoint.

    content: of a checkpoint, as `TrainState.content` makes it. finished: nothing more will be learnt.
    """
    torch.save((_finished(content) if finished else _going_on(content)) | {"format": THIN}, path)


def read_thin(path: Path) -> Content:
    """Read the content for `save_checkpoint`. Raises RecipeError for a file that is no checkpoint, or damaged."""
    content = read_run(path, THIN)
    first = next(iter(content["modules"]))
    weights = {name: tensor.float() for name, tensor in content["modules"][first].items()}
    return content | {
        "format": RUN_FORMAT,
        "modules": content["modules"] | {first: weights},
        "average": {name: weights[name] + _wide(*parts) for name, parts in content["average"].items()},
        "optimizers": {name: _with_first_moments(state) for name, state in content["optimizers"].items()},
    }


def _finished(content: Content) -> Content:
    first = next(iter(content["modules"]))
    halves = {name: tensor.half() for name, tensor in averaged(content).items()}
    return content | {"modules": {first: halves}, "average": {}, "optimizers": {}}


def _going_on(content: Content) -> Content:
    weights = next(iter(content["modules"].values()))
    return content | {
        "average": {name: _narrow(tensor - weights[name]) for name, tensor in content["average"].items()},
        "optimizers": {name: _second_moments(state) for name, state in content["optimizers"].items()},
    }


def _narrow(difference: Tensor) -> tuple[Tensor, float]:
    """Round to 255 levels that reach as far as the largest, and return what a level is worth."""
    worth = float(difference.abs().max()) / 127 or 1.0
    return (difference / worth).round().to(torch.int8), worth


def _wide(levels: Tensor, worth: float) -> Tensor:
    return levels.float() * worth


def _second_moments(optimizer: Content) -> Content:
    packed = {
        name: {"step": moments["step"], "exp_avg_sq": moments["exp_avg_sq"].bfloat16()}
        for name, moments in optimizer["state"].items()
    }
    return optimizer | {"state": packed}


def _with_first_moments(optimizer: Content) -> Content:
    state = {
        name: {
            "step": moments["step"],
            "exp_avg": torch.zeros_like(moments["exp_avg_sq"], dtype=torch.float32),
            "exp_avg_sq": moments["exp_avg_sq"].float(),
        }
        for name, moments in optimizer["state"].items()
    }
    return optimizer | {"state": state}
