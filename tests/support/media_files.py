"""Small real videos, encoded for the tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import Result, upscale_video
from osediff_video.types import ColorTags, Frame, VideoInfo

WIDTH, HEIGHT = 64, 48
FAST = Encoding(preset="veryfast")
TAGGED = ColorTags(matrix=1, primaries=1, transfer=1, full_range=False)


def sample_image(index: int, height: int = HEIGHT, width: int = WIDTH, dtype: type = np.uint8) -> np.ndarray:
    """A bright bar that walks over a gradient: no two are alike."""
    white = np.iinfo(dtype).max
    image = np.empty((height, width, 3), np.float64)
    image[:] = np.linspace(0.1, 0.6, width)[None, :, None]
    left = 3 * index % width
    image[:, left : left + 6] = (0.9, 0.8, 0.2)
    return np.rint(image * white).astype(dtype)


def info(path: Path = Path("memory"), **changes: object) -> VideoInfo:
    values = {
        "path": path, "width": WIDTH, "height": HEIGHT, "time_base": Fraction(1, 12800), "frame_rate": Fraction(25),
        "frame_count_estimate": None, "duration_s": None, "bit_depth": 8, "color": TAGGED,
    }  # fmt: skip
    return VideoInfo(**{**values, **changes})


def write_video(
    path: Path,
    pts: list[int],
    *,
    time_base: Fraction = Fraction(1, 12800),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] | None = (1, 1, 1, 1),
    images: list[np.ndarray] | None = None,
    sound_from: Fraction | None = None,
    sounds: int = 1,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    last_duration: int = 512,
    aspect: Fraction | None = None,
    timecode: str | None = None,
    rate: Fraction = Fraction(25),
) -> Path:
    """Encode images with PyAV alone. tags: matrix, range, primaries, transfer. sound_from: where the sound starts.

    rate: what the container says of it, where it says something; a segment is four seconds of it.
    """
    height, width = size
    scale = {"video_track_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", container_options=scale) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, pix_fmt, time_base
        context.flags |= av.codec.context.Flags.frame_duration
        if timecode:
            stream.metadata["timecode"] = timecode
        if aspect:
            context.sample_aspect_ratio = aspect
        if tags:
            context.colorspace, context.color_range, context.color_primaries, context.color_trc = tags
        tracks = []
        if sound_from is not None:
            for number in range(sounds):
                tracks.append(container.add_stream("aac", rate=48000, layout="mono"))
                tracks[-1].metadata["language"] = ("eng", "fra")[number % 2]
        container.start_encoding()
        for index, time in enumerate(pts):
            image = images[index] if images else sample_image(index, height, width)
            frame = av.VideoFrame.from_ndarray(image, "rgb48le" if image.dtype == np.uint16 else "rgb24")
            if tags and pix_fmt.startswith("yuv"):
                frame = frame.reformat(
                    format=pix_fmt, dst_colorspace=tags[0], src_color_range=2, dst_color_range=tags[1]
                )
            frame.pts, frame.time_base = time, time_base
            frame.duration = (pts[index + 1] - time) if index + 1 < len(pts) else last_duration
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for track in tracks:
            wave = np.sin(np.arange(48000) / 20).astype(np.float32)[None] * 0.3
            tone = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            tone.sample_rate, tone.time_base, tone.pts = 48000, Fraction(1, 48000), int(sound_from * 48000)
            container.mux(track.encode(tone))
            container.mux(track.encode())
    return path


def packets(path: Path, kind: str, number: int = 0) -> list[tuple[Fraction, bytes]]:
    """(presentation time in seconds, bytes) of every packet of one stream."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[number]
        return [(p.pts * Fraction(p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def copy(
    source: Path,
    target: Path,
    encoding: Encoding = FAST,
    scale: float = 1.0,
    restart: bool = False,
    overwrite: bool = False,
    **options: object,
) -> Result:
    """The whole chain from file to file, with a plain resize for the model: at scale 1 no pixel changes on purpose."""
    options = {"temporal": "off", **options}
    video, flags = VideoOptions(**options), {"restart": restart, "overwrite": overwrite}
    return upscale_video(source, target, PlainResize(scale), encoding, video, **flags)


def read(path: Path) -> list[Frame]:
    """Every frame of a video."""
    return list(VideoSource(probe(path)).frames())


def read_times(path: Path) -> list[Fraction]:
    """Presentation time of every frame in seconds."""
    facts = probe(path)
    return [frame.pts * facts.time_base for frame in VideoSource(facts).frames()]
