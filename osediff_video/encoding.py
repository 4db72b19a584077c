"""How a film is encoded. Standard library only, so that `--help` is instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_CRF = {"libx264": 16, "libx265": 18, "libsvtav1": 20, "libvpx-vp9": 20}
"""Visually lossless, by codec."""

OTHER_QUALITY = {"b", "qp", "cq", "crf"}
"""Encoder options that set the quality themselves: with one of them there is no default CRF."""


@dataclass(frozen=True)
class Encoding:
    """codec: encoder by FFmpeg's name; None is x264, and VP9 in WebM, which takes no H.264.

    crf, preset, pix_fmt: None chooses. options: more for the encoder, by its own names.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def codec_for(self, suffix: str) -> str:
        """The encoder for a file with this ending."""
        return self.codec or ("libvpx-vp9" if suffix.lower() == ".webm" else "libx264")

    def options_for(self, codec: str) -> dict[str, str]:
        """What FFmpeg's encoder is given."""
        crf = self.crf
        if crf is None and not self.options.keys() & OTHER_QUALITY:
            crf = DEFAULT_CRF.get(codec)
        chosen = {"crf": None if crf is None else f"{crf:g}", "preset": self.preset}
        return {**{key: value for key, value in chosen.items() if value is not None}, **self.options}
