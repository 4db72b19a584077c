"""Read settings for individual shots from a small TOML file. Imports only the standard library.

    [[shot]]
    number = 3                # the third shot, cuts are counted from the first frame that is read
    prompt = "a crowd"

    [[shot]]
    start = "1:02:30"         # or seconds: from here to the next table with a start
    strength = 0.5
    color_fix = "wavelet"

What a table does not say is as on the command line. A table with a number counts before one with a start.
"""

import difflib
import tomllib
from collections import Counter
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from image_core.errors import MediaError
from image_core.options import ColorFix, UpscaleOptions
from osediff_video.options import VideoOptions, parse_time


@dataclass(frozen=True)
class ShotSettings:
    """Hold one table of the file. Either number, from 1, or start_s, in seconds from the first frame.

    None keeps the setting of the command line.
    """

    number: int | None = None
    start_s: Fraction | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    guidance: float | None = None
    strength: float | None = None
    adaptive: bool | None = None
    keep_tones: bool | None = None
    color_fix: ColorFix | None = None
    temporal_strength: float | None = None

    def images(self, options: UpscaleOptions) -> UpscaleOptions:
        """Return `options` with the settings of the table. Raises ValueError for invalid values or combinations.

        A prompt is all that the shot's images are told, without tags.
        """
        known = {field.name for field in fields(UpscaleOptions)}
        changes = {name: value for name, value in self.given().items() if name in known}
        if self.prompt is not None:
            changes["prompt_mode"] = "fixed"
        return replace(options, **changes)

    def video(self, options: VideoOptions) -> VideoOptions:
        """Return the settings of the video with those of the table. Raises ValueError."""
        if self.temporal_strength is None:
            return options
        if options.temporal == "off":
            raise ValueError("temporal_strength does nothing with --temporal off")
        return replace(options, temporal_strength=self.temporal_strength)

    def given(self) -> dict[str, Any]:
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}


KINDS: dict[str, tuple[type, ...]] = {
    "number": (int,),
    "start": (str, int, Decimal),
    "prompt": (str,),
    "negative_prompt": (str,),
    "guidance": (int, Decimal),
    "strength": (int, Decimal),
    "adaptive": (bool,),
    "keep_tones": (bool,),
    "color_fix": (str,),
    "temporal_strength": (int, Decimal),
}
"""What a table may say, and as what."""

WORDS = {str: "a string", int: "a whole number", Decimal: "a number", bool: "true or false"}


def read_shot_list(path: Path) -> tuple[ShotSettings, ...]:
    """Return the tables in the file's order. Raises MediaError that says where the mistake is."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; expected a list of shots in TOML") from error
    except (OSError, ValueError, RecursionError) as error:  # also numbers of thousands of digits, and deep arrays
        raise MediaError(f"{path}: not readable as TOML: {error}") from error
    for key in values.keys() - {"shot"}:
        raise MediaError(f"{path}: unknown key {key!r}; expected tables [[shot]]")
    tables = values.get("shot", [])
    if not tables or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise MediaError(f"{path}: expected one or more tables [[shot]]")
    try:
        shots = tuple(parsed(table, f"table {number}") for number, table in enumerate(tables, 1))
    except ValueError as error:
        raise MediaError(f"{path}: {error}") from error
    for place in ("number", "start_s"):
        places = [value for shot in shots if (value := getattr(shot, place)) is not None]
        if (twice := next((value for value, count in Counter(places).items() if count > 1), None)) is not None:
            raise MediaError(f"{path}: two tables have the {place.removesuffix('_s')} {float(twice):g}")
    return shots


def parsed(table: dict[str, Any], where: str) -> ShotSettings:
    """Parse one table. Raises ValueError for unknown keys, values of another type or out of range."""
    for key, value in table.items():
        if key not in KINDS:
            near = difflib.get_close_matches(key, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KINDS)}"
            raise ValueError(f"{where} has the unknown key {key!r}; {hint}")
        kinds = KINDS[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(WORDS[kind] for kind in kinds)
            raise ValueError(f"{where}: {key} must be {expected}, got {value!r}")
    if ("number" in table) == ("start" in table):
        raise ValueError(f"{where} must have either number or start, which say where it holds")
    if table.get("number", 1) < 1:
        raise ValueError(f"{where}: shots are numbered from 1, got {table['number']}")
    settings: dict[str, Any] = {
        name: float(v) if isinstance(v, Decimal) else v for name, v in table.items() if name != "start"
    }
    try:
        start_s = parse_time(str(table["start"])) if "start" in table else None
        shot = ShotSettings(start_s=start_s, **settings)
        # the ranges are those of the options; guidance that a negative prompt needs may come from the command line
        shot.images(UpscaleOptions(guidance=2.0))
        shot.video(VideoOptions())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}") from error
    return shot
