"""Record what a job was begun with: everything that decides a bit of its result."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_core.errors import OutputError
from image_core.storage.files import sha256
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.job.identity import Identity
from osediff_video.plan import VideoPlan

if TYPE_CHECKING:
    from image_core.upscaler import Upscaler

JOB_FORMAT = 3
UNDECISIVE = {"batch", "strict", "allow_damaged", "notes", "losses", "tiny_decoder", "latency_s"}
"""Settings that say what is reported, or are recorded as `computation` or in what identifies the model."""


TAKEN_OVER = {"threads", "workload"}
"""Parts of a computation that a resumed job can have as they were."""


@dataclass(frozen=True)
class Manifest:
    """Hold what decides the result, in JSON's types.

    settings: what the user asked for, the model and the encoder. computation: what computes it, since the same sums in
    another order round otherwise: kind of device, version of torch, instructions of the processor, threads of
    each worker, workload; on a CPU only tiles count of it.
    """

    settings: dict[str, Any]
    computation: dict[str, Any]

    def changes(self, now: "Manifest", mixed: bool = False) -> list[str]:
        """Describe what differs in `now`, except what a resumed job takes over: threads and workload.

        mixed: what computes may differ.
        """
        changes: list[str] = []
        parts = [(self.settings, now.settings), (self.computation, now.computation)]
        for before, after in parts[: 1 if mixed else 2]:
            for name in sorted((before.keys() | after.keys()) - TAKEN_OVER):
                old, new = before.get(name), after.get(name)
                if old != new:
                    is_short = all(len(str(value)) < 40 for value in (old, new))
                    changes.append(f"{name} was {old}, is {new}" if is_short else f"{name} differs")
        return changes

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the settings."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


def manifest_of(plan: VideoPlan, upscaler: "Upscaler") -> Manifest:
    """Return what decides the result of `plan`. Raises OutputError for a file of settings that cannot be read."""
    images, video, encoder = (asdict(part) for part in (upscaler.options, plan.options, plan.encoder))
    values = {**images, **video, **encoder, "model": upscaler.identity, "segment_frames": plan.segment_frames}
    for name in ("cuts", "flow", "shots"):  # what a file says counts, not its name
        if values[name] and Path(values[name]).is_file():
            try:
                values[name] = sha256(Path(values[name]))
            except OSError as error:
                raise OutputError(f"{values[name]}: cannot be read ({error})") from error
    decisive = {name: value for name, value in values.items() if name not in UNDECISIVE}
    computation = {
        **computation_of(upscaler),
        "threads": upscaler.crew_for(plan.height, plan.width).threads,
        "workload": asdict(upscaler.workload_for(plan.height, plan.width)),
    }
    return Manifest(json.loads(json.dumps(decisive, default=str)), computation)


def computation_of(upscaler: "Upscaler") -> dict[str, str]:
    """Return what of a machine decides how sums are rounded."""
    import torch

    return {
        "device": upscaler.device.type,
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def write_manifest(path: Path, source: Identity, manifest: Manifest) -> None:
    """Write the record of a job. Raises OSError."""
    write_sealed(path, {"format": JOB_FORMAT, "source": asdict(source), **asdict(manifest)})


def read_manifest(path: Path) -> tuple[Identity, Manifest] | None:
    """Return the record of a job; None for a file that is missing, damaged, or of another version."""
    values = read_sealed(path)
    if values is None or values.get("format") != JOB_FORMAT:
        return None
    try:
        return Identity(**values["source"]), Manifest(values["settings"], values["computation"])
    except (KeyError, TypeError):
        return None
