"""How a film is encoded. Standard library only, so that `--help` is instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_CRF = {"libx264": 16, "libx265": 18, "libsvtav1": 20, "libvpx-vp9": 20}
"""Visually lossless, by codec."""


@dataclass(frozen=True)
class Encoding:
    """codec: encoder by FFmpeg's name. crf, preset, pix_fmt: None chooses. options: more for the encoder, as it names them."""

    codec: str = "libx264"
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def encoder_options(self) -> dict[str, str]:
        """What FFmpeg's encoder is given."""
        crf = DEFAULT_CRF.get(self.codec) if self.crf is None else self.crf
        chosen = {"crf": None if crf is None else f"{crf:g}", "preset": self.preset}
        return {**{key: value for key, value in chosen.items() if value is not None}, **self.options}
