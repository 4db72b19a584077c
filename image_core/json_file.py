"""Settings from JSON files."""

import json
from pathlib import Path
from typing import Any

from image_core.errors import CheckpointError


def read_object(path: Path, what: str, missing: str = "missing") -> dict[str, Any]:
    """A JSON file that holds an object. what: its name in an error. missing: what an error says of no file.

    Raises CheckpointError for a file that is missing, cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: {missing}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected {what}, got a {type(values).__name__}")
    return values
