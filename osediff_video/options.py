"""Define the settings of a video as a whole. Imports only the standard library, so that `--help` is instant."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from image_core.options import Draws, check_range

Temporal = Literal["pixel", "latent", "off"]
TEMPORALS: tuple[str, ...] = get_args(Temporal)
Layout = Literal["side", "split", "wipe"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
Deinterlace = Literal["auto", "on", "off"]
PipeFormat = Literal["matroska", "nut", "y4m"]
PIPE_FORMATS: tuple[str, ...] = get_args(PipeFormat)
DEINTERLACE: tuple[str, ...] = get_args(Deinterlace)
SHORT_SIDE = {
    "480p": 480,
    "576p": 576,
    "720p": 720,
    "1080p": 1080,
    "1440p": 1440,
    "2160p": 2160,
    "4k": 2160,
    "8k": 4320,
}


@dataclass(frozen=True)
class VideoOptions:
    """Hold the settings for reading a video and keeping it steady. Raises ValueError for a value out of range.

    size: "1080p", "4k", a short side in pixels, or WIDTHxHEIGHT; None is the scale of `UpscaleOptions`.
    start_s: beginning of the part to keep, in seconds from the first frame; None is its beginning.
    end_s: end of the part to keep, in seconds from the first frame; None is its end.
    deinterlace: "on", "off", or "auto": when both the flags and the images are interlaced.
    keep_rotation: keep images as coded and write the rotation tag, instead of turning them upright.
    temporal: "pixel" blends each output with the previous one along the motion, "latent" does so inside the model,
        "off" leaves frames as the model made them.
    temporal_strength: weight of the previous output in the temporal blend, between 0 and 1.
    shots: TOML file with settings for individual shots.
    uncertainty: folder for an uncertainty map of each frame.
    draws: number of results that an uncertainty map compares, 2 to 256.
    seed: random seed for the draws.
    flow: estimator of the motion: "dis", or a file with weights of RAFT.
    cuts: where shots begin: "auto" detects them, "off" is one single shot, else a file with one time per line.
    fps: frame rate of a folder of frames.
    pipe_format: format of standard output: "matroska", "nut" or "y4m".
    realtime: write to standard output as fast as frames come: what is too slow for that is made without the UNet, or
        plainly resized.
    latency_s: with `realtime`, how long after it is due a frame may be written, 0.05 to 60 seconds.
    strict: fail up front if anything would be lost.
    allow_damaged: accept a video that ends early (read by the commands, for their exit code), and a folder
        with frames that cannot be read.
    """

    size: str | None = None
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    deinterlace: Deinterlace = "auto"
    keep_rotation: bool = False
    temporal: Temporal = "pixel"
    temporal_strength: float = 0.7
    shots: str | None = None
    uncertainty: str | None = None
    draws: int = Draws.count
    seed: int = Draws.seed
    flow: str = "dis"
    cuts: str = "auto"
    fps: Fraction = Fraction(25)
    pipe_format: PipeFormat = "matroska"
    realtime: bool = False
    latency_s: float = 0.5
    strict: bool = False
    allow_damaged: bool = False

    def __post_init__(self) -> None:
        if self.deinterlace not in DEINTERLACE:
            raise ValueError(f"deinterlace must be one of {', '.join(DEINTERLACE)}, got {self.deinterlace!r}")
        if self.temporal not in TEMPORALS:
            raise ValueError(f"temporal must be one of {', '.join(TEMPORALS)}, got {self.temporal!r}")
        if not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0, up to 1000, got {float(self.fps):g}")
        if not 0 < self.temporal_strength < 1:
            raise ValueError(f"temporal_strength must be between 0 and 1, got {self.temporal_strength:g}")
        Draws(self.draws, self.seed)
        check_range("latency_s", self.latency_s, 0.05, 60)
        if self.latency_s != VideoOptions.latency_s and not self.realtime:
            raise ValueError("latency_s does nothing without realtime; add that, or leave it out")
        if self.realtime and (self.temporal == "latent" or self.uncertainty):
            raise ValueError("realtime has no time for temporal latent or uncertainty; leave it or them out")
        if (self.start_s or 0) < 0:
            raise ValueError(f"start must not be negative, got {float(self.start_s or 0):g} s")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ValueError(f"end ({float(self.end_s):g} s) must be after start ({float(self.start_s or 0):g} s)")
        if self.size is not None:
            parse_size(self.size, 100, 100)


def parse_size(words: str, height: int, width: int) -> tuple[int, int]:
    """Return height and width of the output for an input of this size; a short side keeps the aspect.

    Computed sides are even. Raises ValueError for words that are no size.
    """
    if exact := re.fullmatch(r"(\d+)\s*[xX:]\s*(\d+)", words.strip()):
        return int(exact[2]), int(exact[1])
    short = SHORT_SIDE.get(words.strip().lower()) or (int(words) if words.strip().isdigit() else 0)
    if not short:
        raise ValueError(f"size must be like 1080p, 4k, 1080 or 1920x1080, got {words!r}")
    long = round(short * max(height, width) / min(height, width) / 2) * 2
    return (short, long) if height <= width else (long, short)


def parse_time(words: str) -> Fraction:
    """Return the seconds of "90", "1:30" or "0:01:30.5". Raises ValueError."""
    parts = words.strip().split(":")
    try:
        numbers = [parse_number(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(number < 0 for number in numbers):
        raise ValueError(f"expected a time such as 90, 1:30 or 0:01:30.5, got {words[:40]!r}")
    return sum((number * 60**power for power, number in enumerate(reversed(numbers))), Fraction(0))


def parse_segments(words: str) -> range:
    """Return the numbers that "12-17" or "12" names, both ends included. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", words.strip(), re.ASCII)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise ValueError(f"expected segments such as 0-14 or 7, got {words[:40]!r}")
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def parse_number(words: str) -> Fraction:
    """Return the exact value of "24", "23.976" or "30000/1001": at most 9 digits on each side. Raises ValueError.

    No exponents: an exact number of a million digits takes minutes, and nobody means it.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:/0*([1-9]\d{0,8}))?", words.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"expected a number such as 24, 23.976 or 30000/1001, got {words[:40]!r}")
    return Fraction(match[1]) / int(match[2] or 1)
