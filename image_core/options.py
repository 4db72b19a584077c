"""Define settings for upscaling images. Standard library only, so that `--help` is instant."""

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

ColorFix = Literal["auto", "adain", "wavelet", "none"]
PromptMode = Literal["auto", "tags", "tags+text", "fixed", "none"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "mixed"]
Engine = Literal["auto", "torch", "openvino", "openvino-int8"]

COLOR_FIXES: tuple[str, ...] = get_args(ColorFix)
PROMPT_MODES: tuple[str, ...] = get_args(PromptMode)
PRECISIONS: tuple[str, ...] = get_args(Precision)
ENGINES: tuple[str, ...] = get_args(Engine)

OWN_DECODER = "own"
"""Stable Diffusion's decoder, also where a model names a tiny one."""

INT8_FILE = "int8.json"
"""In a model's folder, what the engine openvino-int8 needs."""

MIN_SCALE, MAX_SCALE = 1.0, 8.0
MAX_GUIDANCE, MAX_LORA_SCALE, MAX_DRAWS = 20.0, 2.0, 256


@dataclass(frozen=True)
class UpscaleOptions:
    """Hold settings for upscaling one image. Raises ValueError for a value out of range.

    scale: output size / input size, 1 to 8.
    prompt: text for models that read one; None is the model's own default.
    color_fix: how colours are held to the input's: "adain", "wavelet", "none", or "auto", which the model recommends.
    negative_prompt: what the image should not show, used with guidance above 1; None is the empty prompt.
    guidance: how far the result moves away from the negative prompt, 1 to 20; above 1 the model runs twice.
    strength: blend between the enlarged input (0) and the model's result (1).
    adaptive: restore less where the input is already sharp and clean.
    lora_scale: scale of unmerged LoRA adapters, 0 to 2; 1 is as trained.
    keep_tones: keep the means over 16 x 16 pixels exactly those of the enlarged input.
    batch: images per model call; None is what fits in memory.
    tile_px: edge of a tile in output pixels, a multiple of 8; None is no tiles while the image fits in memory.
    tile_overlap_px: pixels that neighbouring tiles share, a multiple of 8.
    tiny_decoder: folder of a small decoder (diffusers' AutoencoderTiny) to use in place of Stable Diffusion's, or "own"
        for that one; None is what the model names, else its own.
    compile: compile the model for the size of the images with torch.compile; needs a C++ compiler, on CUDA triton, and
        a minute or so for each new size, then kept for later runs. Where it fails, the model runs as it is.
    fast: leave out the UNet of a model that does without, such as lite: faster, and noise stays.
    prompt_mode: "tags" is a description of the image followed by the prompt, "tags+text" adds what is written in the
        image (extra ocr), "fixed" is the prompt alone, "none" the empty prompt; "auto" is "tags" where the model has a
        tagger.
    """

    scale: float = 4.0
    prompt: str | None = None
    color_fix: ColorFix = "auto"
    negative_prompt: str | None = None
    guidance: float = 1.0
    strength: float = 1.0
    adaptive: bool = False
    lora_scale: float = 1.0
    keep_tones: bool = False
    batch: int | None = None
    tile_px: int | None = None
    tile_overlap_px: int = 64
    compile: bool = False
    fast: bool = False
    tiny_decoder: str | None = None
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
        check_range("guidance", self.guidance, 1, MAX_GUIDANCE)
        check_range("strength", self.strength, 0, 1)
        check_range("lora_scale", self.lora_scale, 0, MAX_LORA_SCALE)
        if self.negative_prompt is not None and self.guidance == 1:
            raise ValueError("a negative prompt does nothing at guidance 1; give a guidance above 1, such as 2")
        if self.fast and (self.strength != 1 or self.adaptive or self.guidance != 1):
            raise ValueError(
                "fast leaves out the UNet, which strength, adaptive and guidance steer; leave fast or them out"
            )
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")
        if self.tile_overlap_px < 8 or self.tile_overlap_px % 8:
            raise ValueError(f"tile_overlap_px must be a positive multiple of 8, got {self.tile_overlap_px}")
        if self.tile_px is not None and (self.tile_px % 8 or self.tile_px < 2 * self.tile_overlap_px):
            raise ValueError(
                f"tile_px must be a multiple of 8 and at least twice the overlap ({self.tile_overlap_px}), "
                f"got {self.tile_px}"
            )

    @property
    def runs_unet(self) -> bool:
        """Return whether anything of what the UNet computes is used."""
        return not self.fast and self.strength > 0


@dataclass(frozen=True)
class Draws:
    """Define draws of results that are equally possible, for a map of uncertainty. seed: the same draws every time."""

    count: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("draws", self.count, 2, MAX_DRAWS)
        check_range("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class AsPublished:
    """Ask for an image as the authors' test code makes it, to compare with their paper.

    seed: of the draw from the encoder's distribution; the same draw every time. Theirs differs from run to run.
    process_px: short side of the output that smaller images are enlarged to, 64 to 4096.
    """

    seed: int = 0
    process_px: int = 512

    def __post_init__(self) -> None:
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("process_px", self.process_px, 64, 4096)

    def check(self, options: UpscaleOptions) -> None:
        """Refuse settings that the authors' code does not have. Raises ValueError."""
        if options.scale != round(options.scale):
            raise ValueError(f"as_published needs a whole scale, as the published code has, got {options.scale:g}")
        if options.prompt_mode not in ("auto", "tags"):
            raise ValueError(
                f"as_published describes every image by tags alone, got prompt_mode {options.prompt_mode}; leave it out"
            )
        for field in fields(UpscaleOptions):
            value = getattr(options, field.name)
            if field.name not in PUBLISHED_SETTINGS and value != field.default:
                raise ValueError(
                    f"as_published goes without {field.name}, as the published code does, got {value}; leave it out"
                )


PUBLISHED_SETTINGS = ("scale", "prompt", "prompt_mode", "color_fix")
"""What the authors' test code can be told."""


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Check that a number lies within its range. Raises ValueError for what is not a number from `least` to `most`."""
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(f"{name} must be from {least:g} to {most:g}, got {value:g}")
