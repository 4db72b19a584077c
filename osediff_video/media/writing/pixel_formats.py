"""Choose the pixel format of the result, and say what of depth and chroma it does not hold."""

from av import VideoFormat
from av.codec.codec import Codec, UnknownCodecError

from osediff_video.media.color import RGB, is_rgb
from osediff_video.types import VideoInfo

NEEDS_EVEN_SIZES = {"libx264", "libx265"}
"""In 4:2:0; the other encoders round chroma up."""

SAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 4): "4:1:0"}
"""Names of how often chroma is sampled: every so many columns and rows."""

KEEPS_ALL = "--codec ffv1 in .mkv keeps them"


def choose_pix_fmt(info: VideoInfo, codec: str, alpha: bool, width: int, height: int) -> str:
    """Return a pixel format as deep as the source, as far as the encoder goes."""
    deep = info.bit_depth > 8
    if codec == "prores_ks":
        return "yuva444p10le" if alpha else "yuv422p10le"
    if codec in ("qtrle", "png"):
        return {"qtrle": ("rgb24", "argb"), "png": ("rgb24", "rgba")}[codec][alpha]
    if codec == "ffv1":
        if info.color.matrix == RGB:
            return ("gbrap16le" if alpha else "gbrp16le") if deep else ("bgra" if alpha else "bgr0")
        return f"yuv{'a' * alpha}444p{'' if not deep else '10le' if info.bit_depth <= 10 else '16le'}"
    chroma = "444" if needs_full_chroma(codec, width, height) else "420"
    plain = f"yuv{'a' * alpha}{chroma}p"
    formats = formats_of(codec)
    candidates = [f"{plain}10le", "p010le"] if deep and not alpha else [f"{plain}10le"] if deep else []
    return next((name for name in candidates if not formats or name in formats), plain)


def needs_full_chroma(codec: str, width: int, height: int) -> bool:
    """Return whether the size is one that the encoder takes in 4:4:4 only."""
    return codec in NEEDS_EVEN_SIZES and bool(width % 2 or height % 2)


def formats_of(codec: str) -> list[str]:
    """Return the pixel formats that an encoder of FFmpeg takes, none where it does not say."""
    try:
        return [pixel_format.name for pixel_format in Codec(codec, "w").video_formats or ()]
    except UnknownCodecError:
        return []


def format_losses(info: VideoInfo, codec: str, pix_fmt: str) -> list[str]:
    """Return what of the source's depth and chroma the format does not hold, each with what would."""
    losses: list[str] = []
    try:
        VideoFormat(pix_fmt)
    except ValueError:  # a name nobody knows: refused when the encoder is tried
        return losses
    depth, full, chroma = depth_of(pix_fmt), sampling_of(info.pix_fmt), sampling_of(pix_fmt)
    formats = [
        name for name in formats_of(codec) if not name.startswith("yuvj") and has_alpha(name) == has_alpha(pix_fmt)
    ]
    formats.sort(key=is_rgb)
    deep = [name for name in formats if depth_of(name) >= info.bit_depth]
    both = next((name for name in deep if has_chroma(name, full)), None)
    if info.bit_depth > depth:
        better = both or next(iter(deep), None)
        losses.append(f"{info.bit_depth} bits a sample are stored as {depth}; {remedy(better)}")
    if full is not None and chroma is not None and (chroma[0] > full[0] or chroma[1] > full[1]):
        wide = (name for name in formats if depth_of(name) >= min(info.bit_depth, depth) and has_chroma(name, full))
        source = "RGB" if is_rgb(info.pix_fmt) else f"chroma of {SAMPLING.get(full, 'its own')}"
        kept = remedy(both or next(wide, None)).replace("them", "it")
        losses.append(f"{source} is stored as {SAMPLING.get(chroma, 'less chroma')}; {kept}")
    if full is not None and chroma is None:
        losses.append("colour is lost: the pixel format holds grey only")
    return losses


def has_chroma(pix_fmt: str, full: tuple[int, int] | None) -> bool:
    """Return whether a format samples chroma at least as often as `full` has it."""
    own = sampling_of(pix_fmt)
    return full is None or (own is not None and own[0] <= full[0] and own[1] <= full[1])


def remedy(better: str | None) -> str:
    return f"--pix-fmt {better} keeps them" if better else KEEPS_ALL


def depth_of(pix_fmt: str) -> int:
    """Return the bits of a sample of colour."""
    pixel_format = VideoFormat(pix_fmt)
    if pixel_format.has_palette:
        return 8
    return max(component.bits for component in pixel_format.components)


def has_alpha(pix_fmt: str) -> bool:
    return any(component.is_alpha for component in VideoFormat(pix_fmt).components)


def sampling_of(pix_fmt: str) -> tuple[int, int] | None:
    """Return how many columns and rows share one sample of chroma; None for grey."""
    pixel_format = VideoFormat(pix_fmt)
    if pixel_format.has_palette or is_rgb(pix_fmt):
        return 1, 1
    if len([component for component in pixel_format.components if not component.is_alpha]) < 3:
        return None
    return 64 // pixel_format.chroma_width(64), 64 // pixel_format.chroma_height(64)
