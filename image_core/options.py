"""Settings for upscaling pictures. Standard library only, so that `--help` is instant."""

from dataclasses import dataclass
from typing import Literal, get_args

ColorFix = Literal["auto", "adain", "wavelet", "none"]
PromptMode = Literal["auto", "tags", "fixed", "none"]
Precision = Literal["auto", "fp32", "fp16", "bf16"]

COLOR_FIXES: tuple[str, ...] = get_args(ColorFix)
PROMPT_MODES: tuple[str, ...] = get_args(PromptMode)
PRECISIONS: tuple[str, ...] = get_args(Precision)

MIN_SCALE, MAX_SCALE = 1.0, 8.0


@dataclass(frozen=True)
class UpscaleOptions:
    """How pictures are made larger and better.

    scale: output size / input size, 1 to 8. prompt: text for models that read one; None is the model's own default.
    prompt_mode: "tags" puts what the picture shows before the prompt, "fixed" is the prompt alone, "none" the empty
    one; "auto" is tags where the model has a tagger.
    color_fix: "auto" is what the model's bundle recommends. batch: pictures per model call; None chooses.
    tile_px: edge of a tile in output pixels, a multiple of 8; None is no tiles while the picture fits in memory.
    """

    scale: float = 4.0
    prompt: str | None = None
    color_fix: ColorFix = "auto"
    batch: int | None = None
    tile_px: int | None = None
    tile_overlap_px: int = 64
    prompt_mode: PromptMode = "auto"

    def __post_init__(self) -> None:
        if self.prompt_mode not in PROMPT_MODES:
            raise ValueError(f"prompt_mode must be one of {', '.join(PROMPT_MODES)}, got {self.prompt_mode!r}")
        if self.prompt_mode == "none" and self.prompt:
            raise ValueError(f"prompt_mode none uses no prompt, but {self.prompt!r} was given; leave one of them out")
        if not MIN_SCALE <= self.scale <= MAX_SCALE:
            raise ValueError(f"scale must be from {MIN_SCALE:g} to {MAX_SCALE:g}, got {self.scale:g}")
        if self.color_fix not in COLOR_FIXES:
            raise ValueError(f"color_fix must be one of {', '.join(COLOR_FIXES)}, got {self.color_fix!r}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if self.tile_overlap_px < 8 or self.tile_overlap_px % 8:
            raise ValueError(f"tile_overlap_px must be a positive multiple of 8, got {self.tile_overlap_px}")
        if self.tile_px is not None and (self.tile_px % 8 or self.tile_px < 2 * self.tile_overlap_px):
            raise ValueError(
                f"tile_px must be a multiple of 8 and at least twice the overlap ({self.tile_overlap_px}), "
                f"got {self.tile_px}"
            )
