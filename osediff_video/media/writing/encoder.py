"""Plan the encoder before work starts: codec, pixel format, colour tags, and what cannot be kept."""

import os
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.codec.codec import UnknownCodecError
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from image_core.device.choice import processor_features
from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.color import BT709, RGB, ColorConverter, is_rgb
from osediff_video.media.writing.captions import caption_codec, with_captions
from osediff_video.media.writing.losses import extras_losses, frames_losses, unused_settings
from osediff_video.media.writing.pixel_formats import choose_pix_fmt, format_losses, needs_full_chroma
from osediff_video.suffixes import FRAME_NAMES
from osediff_video.types import ColorTags, Frame, VideoInfo

PQ, HLG = 16, 18
"""Transfer functions of HDR in ITU-T H.273."""

HOLDS_ALPHA = {"prores_ks", "ffv1", "libvpx-vp9", "qtrle", "png", "gif"}

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 greets on standard error otherwise


@dataclass(frozen=True)
class EncoderPlan:
    """Hold everything that decides the encoded bits besides the images.

    codec: FFmpeg's name of the encoder.
    color: the tags of what is encoded.
    alpha: transparency is encoded too.
    notes: what the user should know.
    losses: those of them that say what is lost.
    frames: names of the frames where the result is a folder.
    """

    codec: str
    pix_fmt: str
    width: int
    height: int
    options: tuple[tuple[str, str], ...]
    color: ColorTags
    alpha: bool
    rate: Fraction
    time_base: Fraction
    sample_aspect_ratio: Fraction
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    frames: str = FRAME_NAMES


def plan_encoder(info: VideoInfo, width: int, height: int, encoding: Encoding, suffix: str) -> EncoderPlan:
    """Plan for output frames of `width` x `height` in a file with the suffix `suffix`. Raises OutputError."""
    hdr = info.color.transfer in (PQ, HLG)
    codec = encoding.codec_for(suffix, alpha=info.alpha, hdr=hdr, deep=info.bit_depth > 8)
    if suffix in ("", ".gif"):
        # frames and GIF are made of lossless RGB at the end
        info = replace(info, color=replace(info.color, matrix=RGB, guessed=False))
        codec, options = "ffv1", {}
    else:
        check_codec(codec)
        options = encoding.options_for(codec)
    notes = unused_settings(encoding, suffix)
    losses: list[str] = []
    alpha = info.alpha and codec in HOLDS_ALPHA and (encoding.pix_fmt is None or "a" in encoding.pix_fmt)
    if info.alpha and not alpha:
        losses.append(
            f"transparency is lost: {codec} in {suffix} cannot hold it; write .mov (ProRes 4444), .mkv (FFV1) or .webm"
        )
    pix_fmt = encoding.pix_fmt or choose_pix_fmt(info, codec, alpha, width, height)
    if suffix not in ("", ".gif"):  # images are made of what is stored in RGB
        losses += format_losses(info, codec, pix_fmt)
    if suffix == "":
        losses += frames_losses(info, encoding.frames or FRAME_NAMES)
    losses += extras_losses(info, codec, suffix)
    if encoding.pix_fmt is None and needs_full_chroma(codec, width, height):
        notes.append(f"{width} x {height} is odd: encoded as 4:4:4, since 4:2:0 needs even sizes")
    if info.color.guessed:
        notes.append(f"the file does not say its colour matrix: taken as {matrix_name(info.color.matrix)} for its size")
    if hdr:
        kind = "PQ" if info.color.transfer == PQ else "HLG"
        notes.append(f"HDR ({kind}): the image is restored in its own signal, not in linear light")
    if info.light.mastering or info.light.content:
        hdr_options = light_options(info, codec, options)
        if hdr_options is None:
            losses.append(f"HDR10 mastering data cannot be written by {codec}; libx265 and libsvtav1 can")
        options |= hdr_options or {}
    if ours := repeatable(codec):
        key = f"{codec.removeprefix('lib')}-params"
        options[key] = ":".join(filter(None, (ours, options.get(key))))  # what the user says comes last and holds
    return EncoderPlan(
        codec=codec,
        pix_fmt=pix_fmt,
        width=width,
        height=height,
        options=tuple(sorted(options.items())),
        color=encoded_color(info.color, pix_fmt),
        alpha=alpha,
        rate=info.frame_rate,
        time_base=info.time_base,
        sample_aspect_ratio=display_aspect(info, height, width),
        notes=(*notes, *losses),
        losses=tuple(losses),
        frames=encoding.frames or FRAME_NAMES,
    )


def repeatable(codec: str) -> str:
    """Return the encoder's own parameters without which two runs may differ in bits; empty where there are none."""
    if codec == "libx265":
        return "log-level=none:frame-threads=3"  # frames at once decide bits, and would follow the number of cores
    if codec == "libx264" and "avx512f" in processor_features():
        return "asm=avx2"  # its AVX-512 code decides by memory that nobody wrote, at 720 x 576 and other common sizes
    return ""


def display_aspect(info: VideoInfo, height: int, width: int) -> Fraction:
    """Return the pixel aspect that shows the output in the shape of the source; rounding by a pixel is ignored."""
    stretch = Fraction(info.width, info.height) / Fraction(width, height)
    if abs(stretch - 1) < Fraction(1, 100):
        return info.sample_aspect_ratio
    return (info.sample_aspect_ratio * stretch).limit_denominator(1000)


def check_codec(codec: str) -> None:
    """Raise OutputError, with a suggestion, for a name that is no video encoder of this FFmpeg."""
    try:
        encoder = av.Codec(codec, "w")
    except UnknownCodecError:
        encoder = None
    if encoder is None or encoder.type != "video":
        raise OutputError(
            f"{codec}: no video encoder of this name here; x264, x265, av1, vp9, prores and ffv1 are (osediff-video "
            "doctor lists all)"
        )


def light_options(info: VideoInfo, codec: str, options: dict[str, str]) -> dict[str, str] | None:
    """Return options that write HDR10 mastering data, merged with the user's; None when the codec has none."""
    light = info.light
    words = [options.get({"libx265": "x265-params", "libsvtav1": "svtav1-params"}.get(codec, ""), "")]
    if codec == "libx265":
        words.append("hdr10=1")
        if light.mastering:
            words.append(f"master-display={light.mastering}")
        if light.content:
            words.append(f"max-cll={light.content[0]},{light.content[1]}")
        return {"x265-params": ":".join(filter(None, words))}
    if codec == "libsvtav1":
        if light.mastering:
            words.append(f"mastering-display={svt_mastering(light.mastering)}")
        if light.content:
            words.append(f"content-light={light.content[0]},{light.content[1]}")
        return {"svtav1-params": ":".join(filter(None, words))}
    return None


def svt_mastering(words: str) -> str:
    """Convert x265's whole numbers to the fractions that SVT-AV1 reads: G(.265,.69)...L(1000,.0001)."""
    parts = []
    for point in words.split(")")[:-1]:
        name, numbers = point.split("(")
        unit = 10_000 if name == "L" else 50_000
        parts.append(f"{name}({','.join(f'{int(n) / unit:.5f}' for n in numbers.split(','))})")
    return "".join(parts)


def encoded_color(color: ColorTags, pix_fmt: str) -> ColorTags:
    """Return the tags of what is encoded: the source's, but YCbCr made from RGB is BT.709 of limited range."""
    if is_rgb(pix_fmt):
        return ColorTags(RGB, color.primaries, color.transfer, True)
    if color.matrix == RGB:
        return ColorTags(BT709, BT709, BT709, False)
    return color


def matrix_name(matrix: int) -> str:
    return {1: "BT.709", 5: "BT.601 (625 lines)", 6: "BT.601 (525 lines)", 9: "BT.2020"}.get(matrix, str(matrix))


def add_video(container: OutputContainer, plan: EncoderPlan) -> VideoStream:
    """Add the planned video stream without opening it."""
    # rate is a hint for rate control only; the frames' own times go into the file
    stream = container.add_stream(plan.codec, rate=plan.rate, options=dict(plan.options))
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pix_fmt
    context.sample_aspect_ratio = plan.sample_aspect_ratio
    context.time_base = plan.time_base
    context.flags |= Flags.frame_duration
    context.colorspace, context.color_range = plan.color.matrix, 2 if plan.color.full_range else 1
    context.color_primaries, context.color_trc = plan.color.primaries, plan.color.transfer
    return stream


class Encoder:
    """Turn frames into packets of one stream, with the frames' own times."""

    def __init__(self, stream: VideoStream, plan: EncoderPlan) -> None:
        self.stream, self.plan = stream, plan
        self.convert = ColorConverter(plan.color)
        self.caption_codec = caption_codec(plan.codec)
        self.captions: dict[int, bytes] = {}  # of frames that the encoder still holds, by their times

    def encode(self, frame: Frame) -> list[Packet]:
        image = self.convert.from_rgb(frame.image, self.plan.pix_fmt, frame.alpha if self.plan.alpha else None)
        image.pts, image.time_base, image.duration = frame.pts, self.plan.time_base, frame.duration
        # an encoder takes its tags from its settings, but for ProRes, which reads those of the frame
        image.color_primaries, image.color_trc = self.plan.color.primaries, self.plan.color.transfer
        if frame.captions:
            self.captions[frame.pts] = frame.captions
        return self.captioned(self.stream.encode(image))

    def flush(self) -> list[Packet]:
        return self.captioned(self.stream.encode(None))

    def captioned(self, packets: list[Packet]) -> list[Packet]:
        """Return the packets with the captions of their frames."""
        if self.caption_codec is None:
            return packets
        texts = [self.captions.pop(packet.pts, b"") if packet.pts is not None else b"" for packet in packets]
        return [
            with_captions(packet, text, self.caption_codec) if text else packet
            for packet, text in zip(packets, texts, strict=True)
        ]
