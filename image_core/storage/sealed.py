"""Store records as JSON with a hash of their content, so that a changed bit is noticed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from image_core.storage.files import write_whole

SEAL = "seal"


def write_sealed(path: Path, values: dict[str, Any]) -> None:
    """Write `values`, in JSON's types, with their hash; whole or not at all, durably. Raises OSError."""
    write_whole(path, json.dumps(values | {SEAL: seal_of(values)}, indent=1))


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what `write_sealed` wrote; None where there is no file, or its content is not what was written."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values if isinstance(values, dict) and values.pop(SEAL, None) == seal_of(values) else None
    except (OSError, ValueError, RecursionError):
        return None


def seal_of(values: dict[str, Any]) -> str:
    """Return the SHA-256 of `values`, independent of the order of their names."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
