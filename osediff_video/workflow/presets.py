"""Read presets: settings for one kind of material, in small TOML files that come with the package or are a user's own.

summary = "Tapes at home"
model = "lite-faithful"

[image]                   # as of UpscaleOptions
strength = 0.8

[video]                   # as of VideoOptions
deinterlace = "on"

[encoding]                # as of Encoding
crf = 18
"""

import difflib
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from image_core.errors import PresetError
from image_core.options import UpscaleOptions
from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions, parse_number

SHIPPED = Path(__file__).parent / "preset_files"
OF_ONE_VIDEO = {"start_s", "end_s", "shots", "uncertainty", "allow_damaged", "frames", "realtime", "latency_s"}
"""Settings that belong to a single video or run, and to no kind of material."""

TABLES: dict[str, type] = {"image": UpscaleOptions, "video": VideoOptions, "encoding": Encoding}
WORDS = {
    str: "a string", int: "a whole number", float: "a number", bool: "true or false",
    Fraction: 'a rate such as 25 or "30000/1001"',
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """Hold the settings that suit one kind of material.

    name: the name of one that comes with the package, or the path of the file.
    summary: what it is for, in a sentence.
    model: name or folder of the model; "auto" is the best one installed.
    image: settings for each image.
    video: settings for reading a video and keeping it steady.
    encoding: settings of the encoder.
    given: what the file itself says, by the names of those settings; everything else is a default.
    """

    name: str
    summary: str = ""
    model: str = "auto"
    image: UpscaleOptions = field(default_factory=UpscaleOptions)
    video: VideoOptions = field(default_factory=VideoOptions)
    encoding: Encoding = field(default_factory=Encoding)
    given: Mapping[str, Any] = field(default_factory=dict)


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def preset_path(name: str | Path) -> Path:
    """Return the file of a preset: an own file by its path, or one of the package by its name. Raises PresetError."""
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in preset_names():
        return SHIPPED / f"{name}.toml"
    near = difflib.get_close_matches(str(name), preset_names(), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected a TOML file, or one of {', '.join(preset_names())}"
    raise PresetError(f"{name}: no such preset; {hint}")


def preset_text(name: str | Path) -> str:
    """Return the text of a preset, whose comments explain each setting. Raises PresetError."""
    path = preset_path(name)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise PresetError(f"{path}: cannot be read: {error}") from error


def read_preset(name: str | Path) -> Preset:
    """Read a preset that comes with the package, by its name, or an own TOML file.

    name: such as "vhs", or the path of a file. Raises PresetError that names the key that is unknown or wrong.
    """
    path, text = preset_path(name), preset_text(name)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise PresetError(f"{path}: not readable as TOML: {error}") from error
    preset, given = Preset(str(name)), dict[str, Any]()
    for key, value in values.items():
        if key in ("summary", "model"):
            preset = replace(preset, **{key: checked(value, str, f"{path}: {key}")})
        elif key not in TABLES:
            raise PresetError(f"{path}: unknown key {key!r}; {nearest(key, ['summary', 'model', *TABLES])}")
        elif not isinstance(value, dict):
            raise PresetError(f"{path}: {key} must be a table, [{key}], got {value!r:.60}")
        else:
            settings = read_table(value, TABLES[key], f"{path}: [{key}]", path.parent)
            try:
                preset = replace(preset, **{key: TABLES[key](**settings)})
            except (ValueError, OverflowError) as error:
                raise PresetError(f"{path}: [{key}]: {error}") from error
            given |= settings
    model = {"model": preset.model} if "model" in values else {}
    return replace(preset, given=model | given)


def read_table(table: Mapping[str, Any], kind: type, where: str, folder: Path) -> dict[str, Any]:
    """Return the settings of one table, checked by the types of `kind`.

    folder: where a relative path of weights of RAFT begins. Raises PresetError.
    """
    hints = typing.get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.name not in OF_ONE_VIDEO]
    for key in table:
        if key in OF_ONE_VIDEO:
            raise PresetError(f"{where}: {key} is a matter of a single run; give it on the command line")
        if key not in known:
            raise PresetError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    settings = {key: checked(value, hints[key], f"{where}: {key}") for key, value in table.items()}
    if settings.get("flow", "dis") != "dis":
        settings["flow"] = str(folder / settings["flow"])
    if settings.get("cuts", "auto") not in ("auto", "off"):
        raise PresetError(f"{where}: cuts must be 'auto' or 'off', got {settings['cuts']!r:.60}")
    return settings


def nearest(key: str, known: list[str]) -> str:
    """Return a hint at what may have been meant by an unknown key."""
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def checked(value: Any, declared: Any, where: str) -> Any:
    """Return a value of TOML as the type that a setting declares. Raises PresetError."""
    choices = [kind for kind in typing.get_args(declared) or (declared,) if kind is not NoneType]
    if typing.get_origin(declared) is Literal or typing.get_origin(choices[0]) is Literal:
        choices = list(typing.get_args(choices[0]) or choices)
        if value not in choices:
            raise PresetError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r:.60}")
        return value
    if declared == Mapping[str, str]:
        if isinstance(value, dict) and all(isinstance(item, str | int | float) for item in value.values()):
            return {key: str(item) for key, item in value.items()}
        raise PresetError(f"{where} must be a table of the encoder's options, got {value!r:.60}")
    (kind,) = choices
    if kind is Fraction and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return parse_number(str(value))
        except ValueError as error:
            raise PresetError(f"{where}: {error}") from error
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise PresetError(f"{where} must be {WORDS[kind]}, got {value!r:.60}")
