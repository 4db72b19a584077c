"""Hold what a user asked for on the page, as options of the API and as the words of the equal command."""

import json
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from osediff_video import Encoding, Preset, UpscaleOptions, VideoOptions, read_preset

NO_PRESET = "none"


@dataclass(frozen=True)
class Request:
    """Hold what is asked for: a source, a target, and the controls of the page.

    source, target: absolute paths.
    is_image: the source is one image.
    preset: name of a preset, or "none"; it decides what the page has no control for.
    model: name of the model.
    size: "x2" for a scale, anything else as in `VideoOptions.size`.
    strength: as in `UpscaleOptions`.
    steadiness: weight of the previous frame in the temporal blend; 0 is no blend.
    deinterlace: as in `VideoOptions`.
    crf: quality of the encoder; None is the preset's, or visually lossless.
    start, end: seconds of the stretch, as decimal numbers; None is all.
    """

    source: str
    target: str
    is_image: bool = False
    preset: str = NO_PRESET
    model: str = "auto"
    size: str = "x4"
    strength: float = UpscaleOptions.strength
    steadiness: float = VideoOptions.temporal_strength
    deinterlace: str = VideoOptions.deinterlace
    crf: float | None = None
    start: str | None = None
    end: str | None = None

    @property
    def base(self) -> Preset:
        """Return the settings that the controls start from. Raises PresetError."""
        return Preset(NO_PRESET) if self.preset == NO_PRESET else read_preset(self.preset)

    @property
    def scale(self) -> float | None:
        """Return the scale, or None where a size is asked for. Raises ValueError."""
        if not self.size.startswith("x"):
            return None
        try:
            return float(self.size[1:])
        except ValueError as error:
            raise ValueError(f"size must be like x2, 1080p or 1920x1080, got {self.size[:40]!r}") from error

    def image_options(self) -> UpscaleOptions:
        """Return the settings of each image. Raises ValueError."""
        base = self.base.image
        return replace(base, strength=self.strength, scale=self.scale or base.scale)

    def video_options(self) -> VideoOptions:
        """Return the settings of the video. Raises ValueError."""
        base = self.base.video
        temporal = "off" if not self.steadiness else "pixel" if base.temporal == "off" else base.temporal
        return replace(
            base,
            size=None if self.scale else self.size,
            temporal=temporal,
            temporal_strength=self.steadiness or base.temporal_strength,
            deinterlace=self.deinterlace,  # type: ignore[arg-type]  # checked on construction
            start_s=Fraction(self.start) if self.start else None,
            end_s=Fraction(self.end) if self.end else None,
        )

    def encoding(self) -> Encoding:
        """Return the settings of the encoder."""
        base = self.base.encoding
        return base if self.crf is None else replace(base, crf=self.crf)

    def words(self) -> list[str]:
        """Return the words of the command that does the same. Raises as `image_options`."""
        base = self.base
        words = ["osediff-video", "image" if self.is_image else "upscale", self.source, "-o", self.target]
        words += [] if self.preset == NO_PRESET else ["--preset-file", self.preset]
        words += ["--scale", f"{self.scale:g}"] if self.scale else ["--size", self.size]
        words += [] if self.model == base.model else ["--model", self.model]
        words += [] if self.strength == base.image.strength else ["--strength", f"{self.strength:g}"]
        return words if self.is_image else words + self._video_words(base)

    def _video_words(self, base: Preset) -> list[str]:
        video, words = self.video_options(), list[str]()
        words += [] if video.temporal == base.video.temporal else ["--temporal", video.temporal]
        if video.temporal_strength != base.video.temporal_strength:
            words += ["--temporal-strength", f"{video.temporal_strength:g}"]
        words += [] if video.deinterlace == base.video.deinterlace else ["--deinterlace", video.deinterlace]
        if self.crf is not None and self.crf != base.encoding.crf:
            words += ["--crf", f"{self.crf:g}"]
        words += ["--start", self.start] if self.start else []
        return words + (["--end", self.end] if self.end else [])

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self))


def from_json(values: dict[str, Any]) -> Request:
    """Return the request that was written. Raises TypeError for values of another version."""
    return Request(**values)
