"""Read one TOML file into a recipe. An unknown key is an error that names the nearest known one."""

import dataclasses
import difflib
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from train.config import Recipe, RecipeError

T = TypeVar("T")


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe. overrides: `section.key=value`, the value in TOML. Raises RecipeError for anything unknown."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot read this recipe: {error}") from error
    for override in overrides:
        _override(tables, override)
    return build(Recipe, tables, str(path))


def _override(tables: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    *sections, key = dotted.split(".")
    if not equals or not all((*sections, key)):
        raise RecipeError(f"--set {override}: expected SECTION.KEY=VALUE")
    for section in sections:
        tables = tables.setdefault(section, {})
        if not isinstance(tables, dict):
            raise RecipeError(f"--set {override}: {section} is a value, not a table")
    try:
        tables[key] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        tables[key] = text  # a bare word is a string


def build(kind: type[T], table: Any, where: str) -> T:
    """Build a dataclass from a table, and the dataclasses in it. Raises RecipeError for what does not fit."""
    if not isinstance(table, dict):
        raise RecipeError(f"{where} must be a table, got {table!r}")
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, 1, 0)
            raise RecipeError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
    return kind(**{key: _value(value, hints[key], f"{where}: {key}") for key, value in table.items()})


def _value(value: Any, declared: Any, where: str) -> Any:
    if dataclasses.is_dataclass(declared):
        return build(typing.cast(type, declared), value, where)
    origin, inner = typing.get_origin(declared), typing.get_args(declared)
    if origin is Literal:
        if value not in inner:
            raise RecipeError(f"{where} must be one of {', '.join(map(repr, inner))}, got {value!r}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_value(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: _value(item, inner[1], f"{where}.{key}") for key, item in value.items()}
    elif declared is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif type(value) is declared:
        return value
    raise RecipeError(f"{where} must be {getattr(declared, '__name__', declared)}, got {value!r}")
