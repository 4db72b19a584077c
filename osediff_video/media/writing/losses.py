"""Say before work what of a video stream itself the encoder cannot hold."""

from osediff_video.media.extras import CAPTIONS, STEREO, STEREO_TAG, TIME_CODE
from osediff_video.media.writing.captions import caption_codec
from osediff_video.types import VideoInfo

DYNAMIC = ("Dolby Vision", "HDR10+", "HDR Vivid")


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
