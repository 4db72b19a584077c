"""Remember what `osediff-video bench --tune` measured to be fastest on this machine.

No choice changes a result by more than one level of 255: workers change no bit, engines round apart.
"""

import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import platformdirs

from image_core.storage.sealed import read_sealed, write_sealed


@dataclass(frozen=True)
class Tuned:
    """Hold what is fastest here. engine: "torch" or "openvino". workers: how many images are computed at once."""

    engine: str
    workers: int


def tuned_file(fast: bool = False) -> Path:
    """Return where the choices of this machine lie: in the user's folder of program states. fast: for `--fast`."""
    return platformdirs.user_state_path("osediff", appauthor=False) / ("tuned-fast.json" if fast else "tuned.json")


def machine() -> dict[str, str | int]:
    """Return what the measurement hangs on: on any other machine, or with other libraries, it is not used."""
    versions = {}
    for name in ("torch", "openvino"):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"processor": processor(), "cores": cores(), **versions}


def processor() -> str:
    """Return the processor's name as the system says it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_tuned(fast: bool = False) -> Tuned | None:
    """Return what was measured on this very machine; None where nothing was."""
    values = read_sealed(tuned_file(fast))
    if values is None or values.get("machine") != machine():
        return None
    try:
        return Tuned(str(values["engine"]), int(values["workers"]))
    except (KeyError, TypeError, ValueError):
        return None


def write_tuned(tuned: Tuned, fast: bool = False) -> Path:
    """Record what was measured, and return where. Raises OSError."""
    file = tuned_file(fast)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_sealed(file, {"machine": machine(), **asdict(tuned)})
    return file
