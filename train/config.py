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
    """Where good pictures and films are, and how they are made bad.

    folder: of pictures, with all below it. lists: text files with one picture path a line. clips: folder of films, with
    all below it. clip_share: chance that a sample comes from a film, where pictures are given too.
    frames: of a sample; 1 for pictures. More come from films, and from pictures by a moving camera.
    holdout: the last so many pictures by name (films, where there are no pictures) are kept out of training.
    crop_px: edge of a sample. turns: quarter turns beside the mirror. mixture: chance of each degradation ("light",
    "medium", "heavy", "clean" for none); they sum to one. codec: chance that a clip goes through a real video encoder.
    most_bad: so many unreadable or too small files are named and passed over, one more ends the run.
    workers: loader processes; each keeps cache_mb of decoded pictures.
    """

    folder: str = ""
    lists: tuple[str, ...] = ()
    clips: str = ""
    clip_share: float = 0.5
    frames: int = 1
    holdout: int = 20
    crop_px: int = 128
    turns: bool = False
    mixture: dict[str, float] = field(default_factory=lambda: {"heavy": 1.0})
    codec: float = 1.0
    licence: str = ""
    most_bad: int = 20
    workers: int = 1
    cache_mb: int = 512

    def __post_init__(self) -> None:
        chances = {"clip_share": self.clip_share, "codec": self.codec} | {
            f"mixture.{preset}": chance for preset, chance in self.mixture.items()
        }
        for name, chance in chances.items():
            if not isinstance(chance, int | float) or not 0 <= chance <= 1:
                raise RecipeError(f"data.{name} is a chance, a number from 0 to 1; got {chance!r}")
        if abs(sum(self.mixture.values()) - 1) > 1e-6:
            raise RecipeError(f"data.mixture must sum to 1, got {sum(self.mixture.values()):g}")
        if self.frames < 1:
            raise RecipeError(f"data.frames must be at least 1, got {self.frames}")
        if self.crop_px < 8 or self.crop_px % 8:
            raise RecipeError(f"data.crop_px must be a multiple of 8, the pixels of a latent; got {self.crop_px}")
        for name in ("holdout", "most_bad", "workers", "cache_mb"):
            if getattr(self, name) < 0:
                raise RecipeError(f"data.{name} must not be negative, got {getattr(self, name)}")


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
