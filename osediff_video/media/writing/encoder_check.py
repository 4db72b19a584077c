"""Refuse before work what an encoder would ignore or cannot do: options of another name or range, and sizes."""

import io

import av

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.writing.encoder import EncoderPlan, add_video
from osediff_video.media.writing.encoder_log import refusing_ignored, words_of

LARGEST_SIDE = {"libx264": 16384, "libsvtav1": 16384, "libvpx-vp9": 65535, "prores_ks": 65535, "prores": 65535}
"""In pixels."""

HIGHEST_CRF = {"libx264": 51, "libx265": 51, "libsvtav1": 63, "libvpx-vp9": 63}
"""What the codecs have for the worst quality; some encoders take more and mean this. x264 has more above 8 bits."""

DEEP_X264_CRF = 63


def check_size(plan: EncoderPlan) -> None:
    """Raise OutputError for a size that the encoder ends below."""
    most = LARGEST_SIDE.get(plan.codec)
    if most is not None and max(plan.width, plan.height) > most:
        remedy = "a smaller --scale or --size, or --codec ffv1 with a .mkv file"
        raise OutputError(f"{plan.width} x {plan.height}: {plan.codec} ends at {most} pixels a side; choose {remedy}")


def check_quality(encoding: Encoding, plan: EncoderPlan) -> None:
    """Raise OutputError for a quality that the encoder does not have."""
    most = HIGHEST_CRF.get(plan.codec)
    if plan.codec == "libx264" and "10" in plan.pix_fmt:
        most = DEEP_X264_CRF
    if encoding.crf is not None and most is not None and not 0 <= encoding.crf <= most:
        raise OutputError(f"--crf {encoding.crf:g}: {plan.codec} knows 0 to {most}, lower is better")


def try_encoder(plan: EncoderPlan, container_format: str, encoding: Encoding | None = None) -> None:
    """Open the encoder together with a header of this format in memory.

    encoding: what the user asked for. Raises OutputError if the two do not fit, or for options that it does not use.
    """
    check_size(plan)
    if encoding is not None:
        check_quality(encoding, plan)
    try:
        with refusing_ignored(plan.codec), av.open(io.BytesIO(), "w", format=container_format) as container:
            stream = add_video(container, plan)
            container.start_encoding()
            unused = dict(stream.codec_context.options)
    except OverflowError as error:
        raise OutputError(
            f"{plan.codec}: an option is out of its range ({words_of(error)}); choose another value"
        ) from error
    except (av.FFmpegError, ValueError, OSError) as error:
        options = ", ".join(f"{name} {value}" for name, value in plan.options)
        raise OutputError(
            f"{plan.codec} with {plan.pix_fmt} at {plan.width} x {plan.height} ({options or 'no options'}) cannot be "
            f"written to {container_format} ({words_of(error)}); try another --codec, --pix-fmt or --preset, or .mkv"
        ) from error
    for name, value in unused.items():
        flag = {"crf": "--crf", "preset": "--preset"}.get(name) if encoding and name not in encoding.options else None
        what = f"{flag} {value}" if flag else f"--encoder-option {name}={value}"
        raise OutputError(f"{what}: {plan.codec} has no option {name}; leave it out, or choose another --codec")
