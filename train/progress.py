"""Report a run while it goes on, and record it: losses, pace, images."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

ReportStep = Callable[[dict[str, float]], None]


class TrainingProgress:
    """Sum losses where they are, and move them to the CPU only when they are reported.

    mean: of a tensor over all processes.
    """

    def __init__(self, steps: int, images_per_step: int, first_step: int, mean: Callable[[Tensor], Tensor]) -> None:
        self.steps, self.images_per_step, self.mean = steps, images_per_step, mean
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.last_step, self.last_time = first_step, time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value.detach())) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def tell(self, step: int) -> dict[str, float]:
        """Return means since the last call, images per second, and seconds left; then begin anew."""
        now = time.monotonic()
        pace = (step - self.last_step) / max(1e-9, now - self.last_time)
        means = {name: float(self.mean(total / self.counts[name])) for name, total in self.sums.items()}
        self.sums, self.counts, self.last_step, self.last_time = {}, {}, step, now
        return {
            "step": step,
            **means,
            "images_per_s": pace * self.images_per_step,
            "eta_s": (self.steps - step) / max(1e-9, pace),
        }


class Journal:
    """Write `log.jsonl`, a line at a time, and TensorBoard's files beside it; then pass the values on.

    silent: for all processes but the first.
    """

    def __init__(self, folder: Path, report: ReportStep, silent: bool = False) -> None:
        self.folder, self.report, self.silent = folder, report, silent
        if not silent:
            folder.mkdir(parents=True, exist_ok=True)
            self.board = SummaryWriter(str(folder / "tensorboard"))

    def write(self, values: dict[str, float]) -> None:
        """Record values: numbers by name, "step" among them."""
        if self.silent:
            return
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: float(f"{value:.6g}") for name, value in values.items()}) + "\n")
        for name, value in values.items():
            if name != "step":
                self.board.add_scalar(name, value, int(values["step"]))
        self.report(values)

    def show(self, step: int, rows: list[list[Tensor]]) -> None:
        """Record images. rows: low, result and high, each (3, H, W) in [-1, 1], to be seen side by side."""
        if self.silent:
            return
        for index, row in enumerate(rows):
            self.board.add_image(f"low, result, high/{index}", (torch.cat(row, -1).clamp(-1, 1) + 1) / 2, step)

    def close(self) -> None:
        if not self.silent:
            self.board.close()
