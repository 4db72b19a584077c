"""Measure the memory that may still be taken: of a GPU, of the machine, and of what a container or the shell allows."""

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

UNLIMITED = 1 << 60
"""Control groups write absurd numbers where nothing is limited."""


def free_bytes(device: "torch.device") -> int:
    """Return how many bytes new tensors on `device` may take."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what torch keeps for later counts as taken there, but it is ours to use
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = free_ram()
    if device.type == "mps":
        return min(free, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free


def free_ram(root: Path = Path("/")) -> int:
    """Return how much main memory this process may still take: the least of all limits. root: of the file system."""
    limits = [psutil.virtual_memory().available, *group_limits(root)]
    address_space = address_space_left()
    return max(0, min(limits if address_space is None else [*limits, address_space]))


def group_limits(root: Path = Path("/")) -> list[int]:
    """Return what each control group around this process leaves, in either version; nothing where there is none."""
    limits = []
    for line in _lines(root / "proc/self/cgroup"):
        number, kinds, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not kinds:
            base, files = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            base = root / "sys/fs/cgroup/memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = base / path.strip("/")
        # in a container the path may be that outside of it; then its own group is the root
        for group in (folder, *folder.parents) if folder.is_dir() else (base,):
            if group == base or base in group.parents:
                limits += _left(group, *files)
    return limits


def _left(group: Path, limit: str, usage: str, cached: str) -> list[int]:
    limits, used = _lines(group / limit), _lines(group / usage)
    if not limits or not used or not limits[0].isdigit() or not used[0].isdigit() or int(limits[0]) >= UNLIMITED:
        return []
    # cached files are given up when memory is needed
    facts = dict(line.split(" ", 1) for line in _lines(group / "memory.stat") if " " in line)
    spare = facts.get(cached, "0")
    return [int(limits[0]) - int(used[0]) + (int(spare) if spare.isdigit() else 0)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def address_space_left() -> int | None:
    """Return what `ulimit -v` leaves; None where it limits nothing."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - psutil.Process().memory_info().vms
