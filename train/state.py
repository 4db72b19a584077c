"""Save and resume a run exactly: weights, average, optimiser and step, in one file replaced atomically."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.config import RecipeError

LATEST = "latest.pt"


@dataclass
class TrainState:
    """Everything that a step changes. Data order and noise follow from the seed and the step: nothing to save."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, folder: Path, settings: dict[str, Any]) -> None:
        content = {
            "settings": settings,
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / (LATEST + ".part")
        torch.save(content, part)
        part.replace(folder / LATEST)

    def resume(self, folder: Path, settings: dict[str, Any]) -> bool:
        """Continue from `folder` if it holds a checkpoint. Raises RecipeError if another recipe made it."""
        path = folder / LATEST
        if not path.exists():
            return False
        content = torch.load(path, weights_only=True)
        if content["settings"] != settings:
            changed = [key for key, value in settings.items() if content["settings"].get(key) != value]
            raise RecipeError(
                f"{path}: made with another recipe ({', '.join(changed)} differ); use another --out folder"
            )
        self.model.load_state_dict(content["model"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step = content["step"]
        return True
