"""Say before work what of a video stream itself the encoder cannot hold."""

from pathlib import Path

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.extras import CAPTIONS, STEREO, STEREO_TAG, TIME_CODE
from osediff_video.media.writing.captions import caption_codec
from osediff_video.suffixes import FRAME_SUFFIXES
from osediff_video.types import VideoInfo

DYNAMIC = ("Dolby Vision", "HDR10+", "HDR Vivid")


def unused_settings(encoding: Encoding, suffix: str) -> list[str]:
    """Return a sentence if settings of a video encoder are given for images, which are written without one."""
    given = [f"--{name}" for name in ("codec", "crf", "preset") if getattr(encoding, name) is not None]
    given += ["--encoder-option"] if encoding.options else []
    if suffix not in ("", ".gif") or not given:
        return []
    return [f"{', '.join(given)}: without effect on {'a GIF' if suffix else 'a folder of images'}"]


def extras_losses(info: VideoInfo, codec: str, suffix: str) -> list[str]:
    """Return a sentence for each thing that frames carry beside their images and that the result will not."""
    sentences = []
    for name in info.extras:
        if name == CAPTIONS:
            if suffix in ("", ".gif"):
                sentences.append(f"{name} are left out: images hold none; write a video with x264, x265 or AV1")
            elif caption_codec(codec) is None:
                sentences.append(f"{name} are left out: {codec} holds none; --codec x264, x265 or av1 keeps them")
        elif name == TIME_CODE and info.timecode and suffix in (".mov", ".mp4", ".mkv"):
            continue  # the first one goes into the file as its time code
        elif name in (STEREO, STEREO_TAG) and STEREO_TAG in info.extras:
            if name == STEREO_TAG and suffix not in (".mkv", ".webm"):
                sentences.append(f"{name} is left out; write to .mkv or .webm to keep it")
        elif name.startswith(DYNAMIC):
            sentences.append(f"{name} is left out: players show the static HDR image")
        elif name.startswith("a second view"):
            sentences.append(f"{name} is left out: only the first is decoded and upscaled")
        else:
            sentences.append(f"{name} is left out: no encoder here writes it")
    return sentences


def frames_losses(info: VideoInfo, names: str) -> list[str]:
    """Return what frames of a folder lose in the format of their names. Raises OutputError for one never written."""
    suffix = Path(names).suffix.lower()
    if suffix not in FRAME_SUFFIXES:
        raise OutputError(f"{names}: frames cannot be written as {suffix}; expected one of {' '.join(FRAME_SUFFIXES)}")
    lost = []
    if info.bit_depth > 8 and suffix not in (".png", ".tif", ".tiff"):
        lost.append(f"{info.bit_depth} bits become 8, {suffix} holds no more; write .png or .tif to keep them")
    if info.alpha and suffix in (".jpg", ".jpeg"):
        lost.append("transparency is lost, JPEG holds none; write .png to keep it")
    return lost
