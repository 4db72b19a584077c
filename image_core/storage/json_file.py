"""Read settings from JSON files that may come from anyone: bounded, strict, and always an object."""

import json
from pathlib import Path
from typing import Any, NoReturn

from image_core.errors import CheckpointError

MAX_BYTES = 16 << 20
"""Longer than any settings are; a tokenizer's vocabulary has 1 MB."""


def read_object(path: Path, what: str, missing: str = "missing") -> dict[str, Any]:
    """Read a JSON file that holds an object.

    what: its name in an error. missing: what an error says when there is no such file.
    Raises CheckpointError for a file that is missing, too long, cannot be read, or holds something else.
    """
    values = read_json(path, missing)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected {what}, got {kind_of(values)}")
    return values


def read_json(path: Path, missing: str = "missing") -> Any:
    """Read a JSON file of any content. Raises CheckpointError as `read_object` does."""
    if not path.is_file():
        raise CheckpointError(f"{path}: {'not a file' if path.exists() else missing}")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise CheckpointError(f"{path}: longer than {MAX_BYTES >> 20} MiB, which no such file is")
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise CheckpointError(f"{path}: cannot be read: nested too deeply for JSON of this kind") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def kind_of(value: object) -> str:
    """Return what JSON calls the type of a value, with its article."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
