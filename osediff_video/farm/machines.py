"""Judge which machines may work on the same videos, so that it does not matter which of them makes a segment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COMPUTES = ("device", "torch", "processor", "model")
"""What decides bits and has to be the same on all machines."""


@dataclass
class Machines:
    """Hold what has to be equal, and which machines are left out, and why.

    mixed: they may differ. torch: the version of the machine that drives, whose build alone may be another. same: of
    `COMPUTES`, from jobs that are resumed, the rest from the first machine with that torch.
    """

    mixed: bool
    torch: str
    same: dict[str, Any] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)

    def follow(self, computation: Mapping[str, Any]) -> None:
        """Follow a job that was begun before."""
        for what in COMPUTES:
            if what in computation:
                self.same.setdefault(what, computation[what])

    def judge(self, facts: Mapping[str, Any]) -> str | None:
        """Return why a machine would compute other bits than the others; None where it would not, or may."""
        if self.mixed:
            return None
        if release(facts["torch"]) == release(self.same.get("torch", self.torch)):
            self.follow(facts)
        same = {"torch": self.torch, **self.same}
        wrong = [f"{what} is {facts[what]}, not {same[what]}" for what in same if facts[what] != same[what]]
        return f"bits would differ: {'; '.join(wrong)} (--allow-mixed uses it)" if wrong else None

    def leave_out(self, name: str, why: str) -> None:
        """Give a machine no work."""
        self.unfit[name] = why

    def reasons(self) -> str:
        """Return why machines are left out."""
        return "; ".join(f"{name}: {why}" for name, why in self.unfit.items())


def release(version: str) -> str:
    """Return a version of torch without its build, which differs between a CPU and a GPU."""
    return version.partition("+")[0]
