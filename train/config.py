"""A recipe: one TOML file into frozen dataclasses. An unknown key is an error that names the nearest known one."""

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from image_core.errors import OseDiffError


class RecipeError(OseDiffError):
    pass


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the embedded model. widths: UNet channels by depth. prompt_width: of the one stored text embedding."""

    name: str = "lite"
    latent_channels: int = 32
    encoder_width: int = 64
    encoder_blocks: int = 2
    decoder_width: int = 64
    decoder_blocks: int = 6
    widths: tuple[int, ...] = (64, 96, 128)
    prompt_width: int = 32
    timestep: int = 280


@dataclass(frozen=True)
class DataConfig:
    """folder: pictures, read whole into memory. holdout: the last so many by name are kept out of training.

    crop_px: edge of a training crop. mixture: chance of each degradation preset; they sum to one.
    """

    folder: str = ""
    holdout: int = 20
    crop_px: int = 128
    mixture: dict[str, float] = field(default_factory=lambda: {"light": 0.7, "medium": 0.25, "heavy": 0.05})
    licence: str = ""
    workers: int = 1

    def __post_init__(self) -> None:
        if abs(sum(self.mixture.values()) - 1) > 1e-6:
            raise RecipeError(f"data.mixture must sum to 1, got {sum(self.mixture.values()):g}")


@dataclass(frozen=True)
class LoopConfig:
    """steps of `batch` pictures; cosine learning rate after a linear warm-up; latent_weight: of the latent loss."""

    steps: int = 5000
    batch: int = 32
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    ema: float = 0.999
    latent_weight: float = 0.02
    bf16: bool = True
    seed: int = 0
    checkpoint_every: int = 250
    log_every: int = 50


@dataclass(frozen=True)
class Recipe:
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    loop: LoopConfig = LoopConfig()


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe. overrides: `section.key=value`, the value in TOML. Raises RecipeError for anything unknown."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        for override in overrides:
            dotted, _, value = override.partition("=")
            section, _, key = dotted.partition(".")
            tables.setdefault(section, {})[key] = _toml_value(value)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot read this recipe: {error}") from error
    sections = {"model": ModelConfig, "data": DataConfig, "loop": LoopConfig}
    _check_keys(tables, sections, str(path))
    return Recipe(**{name: _build(kind, tables.get(name, {}), f"{path}: [{name}]") for name, kind in sections.items()})


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _build(kind: type, table: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise RecipeError(f"{where} must be a table, got {table!r}")
    known = {f.name: f for f in dataclasses.fields(kind)}
    _check_keys(table, known, where)
    for key, value in table.items():
        if not _fits(value, known[key].type):
            raise RecipeError(f"{where} {key} must be {known[key].type}, got {value!r}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def _fits(value: Any, declared: Any) -> bool:
    if declared is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if declared in (str, bool):
        return isinstance(value, declared)
    return isinstance(value, dict if "dict" in str(declared) else list)


def _check_keys(table: dict[str, Any], known: dict[str, Any], where: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0)
            raise RecipeError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
