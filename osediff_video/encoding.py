"""Define how a video is encoded. Imports only the standard library, so that `--help` is instant."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_CRF = {"libx264": 16, "libx265": 18, "libsvtav1": 20, "libvpx-vp9": 20}
"""Visually lossless, by codec."""

OTHER_QUALITY = {"b", "qp", "cq", "crf"}
"""Encoder options that set the quality themselves: with one of them there is no default CRF."""

SAME_ON_ANY_MACHINE = {"libx264": {"threads": "8"}}
"""Encoder options, by codec, that would otherwise follow the number of cores and decide bits with it."""

SHORT_NAMES = {
    "x264": "libx264", "h264": "libx264", "avc": "libx264", "x265": "libx265", "h265": "libx265", "hevc": "libx265",
    "av1": "libsvtav1", "svtav1": "libsvtav1", "vp9": "libvpx-vp9", "prores": "prores_ks",
}  # fmt: skip
"""What people call encoders."""

ALPHA_CODEC = {".mov": "prores_ks", ".mkv": "ffv1", ".webm": "libvpx-vp9"}
"""The encoder that keeps transparency in each container that can."""


@dataclass(frozen=True)
class Encoding:
    """Hold the settings for encoding the result.

    codec: encoder by its common name (x264, x265, av1, vp9, prores, ffv1) or FFmpeg's; None is x264, x265 for HDR, VP9
        in WebM, AV1 there for more than 8 bits, and one with alpha where the source has transparency and the
        container can hold it.
    crf: quality, lower is better; None is visually lossless.
    preset: encoder preset, such as "slow"; None is the encoder's own.
    pix_fmt: pixel format; None is as deep as the source.
    options: extra encoder options, by the encoder's own names.
    frames: names of frames in a folder, such as "%06d.tif"; None is frame_%08d.png.
    """

    codec: str | None = None
    crf: float | None = None
    preset: str | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    frames: str | None = None

    def codec_for(self, suffix: str, *, alpha: bool = False, hdr: bool = False, deep: bool = False) -> str:
        """Return the encoder for a file with this suffix."""
        suffix = suffix.lower()
        if self.codec:
            return SHORT_NAMES.get(self.codec.lower(), self.codec)
        if suffix == ".gif":
            return "gif"
        if alpha and suffix in ALPHA_CODEC:
            return ALPHA_CODEC[suffix]
        if suffix == ".webm":
            return "libsvtav1" if deep else "libvpx-vp9"  # the VP9 that comes with PyAV has 8 bits only
        return "libx265" if hdr else "libx264"

    def options_for(self, codec: str) -> dict[str, str]:
        """Return the options passed to FFmpeg's encoder."""
        crf = self.crf
        if crf is None and not self.options.keys() & OTHER_QUALITY:
            crf = DEFAULT_CRF.get(codec)
        chosen = {"crf": None if crf is None else f"{crf:g}", "preset": self.preset}
        given = {key: value for key, value in chosen.items() if value is not None}
        return {**SAME_ON_ANY_MACHINE.get(codec, {}), **given, **self.options}
