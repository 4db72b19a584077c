"""One small video with everything a container can carry, made from real encodes."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

from osediff_video.media.carriers import ASS_HEADER
from tests.support.media_files import sample_image

FONT = b"\x00\x01\x00\x00 not really a font" * 20
LINES = [(200, 400, "Hello <i>there</i>"), (700, 500, "Second\nline"), (1500, 300, "Last")]
MILLISECOND = Fraction(1, 1000)


def cover() -> bytes:
    buffer = BytesIO()
    Image.fromarray(sample_image(5, 32, 32)).save(buffer, "JPEG")
    return buffer.getvalue()


def write_rich(path: Path, frames: int = 50) -> Path:
    """Matroska: H.264, two AAC tracks, SRT, ASS, three chapters, a font and a cover; 25 frames a second."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = MILLISECOND
        video.metadata["title"] = "The image"
        sounds = [output.add_stream("aac", rate=48000, layout=layout) for layout in ("mono", "stereo")]
        for sound, language in zip(sounds, ("eng", "fra"), strict=True):
            sound.metadata["language"] = language
        sounds[1].disposition = av.stream.Disposition.comment
        texts = [output.add_stream(codec) for codec in ("srt", "ass")]
        for text in texts:
            text.codec_context.subtitle_header = ASS_HEADER
            text.codec_context.time_base = text.time_base = MILLISECOND
            text.metadata["language"] = "deu"
        texts[0].disposition = av.stream.Disposition.forced
        output.add_attachment("font.ttf", "font/ttf", FONT)
        output.add_attachment("cover.jpg", "image/jpeg", cover())
        output.metadata.update({"title": "Everything", "comment": "ours"})
        output.set_chapters(
            [
                {"id": n, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": f"Part {n}"}}
                for n, (start, end) in enumerate([(0, 600), (600, 1400), (1400, 2000)], 1)
            ]
        )
        output.start_encoding()
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(sample_image(n), "rgb24")
            frame.pts, frame.time_base = 40 * n, MILLISECOND
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for number, sound in enumerate(sounds, 1):
            wave = np.sin(np.arange(96000) / (20 * number)).astype(np.float32)[None].repeat(number, 0) * 0.3
            tone = av.AudioFrame.from_ndarray(wave, "fltp", "mono" if number == 1 else "stereo")
            tone.sample_rate = 48000
            output.mux(sound.encode(tone))
            output.mux(sound.encode(None))
        for text in texts:
            for order, (start, length, line) in enumerate(LINES):
                body = line.replace("<i>", "{\\i1}").replace("</i>", "{\\i0}").replace("\n", "\\N")
                event = f"{order},0,Default,,0,0,0,,{body}".encode()
                packet = text.codec_context.encode_subtitle(
                    av.subtitles.subtitle.SubtitleSet.create(event, 0, length, pts=start * 1000)
                )
                packet.pts = packet.dts = start
                packet.duration, packet.time_base, packet.stream = length, MILLISECOND, text
                output.mux_one(packet)
    return path
