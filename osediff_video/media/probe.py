"""Read the facts about a video from its header and its first frame."""

import itertools
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type as SideData
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import MediaError
from osediff_video.media.color import BT709, RGB, UNSAID, guess_matrix, is_rgb
from osediff_video.media.container import open_container, pipe_advice, readable_packets, reason, ticks, video_stream
from osediff_video.types import UPRIGHT, ColorTags, Light, Orientation, VideoInfo

FALLBACK_RATE = Fraction(25)
ALPHA_FRAMES = 200
ONE = 1 << 16
QUARTER_TURNS = {
    90: (0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30),
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30),
    270: (0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30),
}
"""Display matrices of counter-clockwise turns."""

ALPHA_DECODER = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these drop the alpha plane that the tag `alpha_mode` announces."""


def probe(path: Path) -> VideoInfo:
    """Open the video and decode its first frame. Raises MediaError."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        hidden_alpha = announces_alpha(stream) and stream.codec_context.name in ALPHA_DECODER
        frame = first_frame(container, stream, path)
        rate = frame_rate(stream)
        duration_s = video_duration(container, stream)
        matrix = display_matrix(frame)
        orientation = orientation_of(matrix) if matrix else UPRIGHT
        # players take the container's word before the bitstream's
        ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or Fraction(1)
        ratio = Fraction(ratio) if ratio > 0 else Fraction(1)
        return VideoInfo(
            path=path,
            width=frame.height if orientation.transpose else frame.width,
            height=frame.width if orientation.transpose else frame.height,
            time_base=ticks(stream),
            frame_rate=rate,
            frame_count_estimate=stream.frames or (round(duration_s * rate) if duration_s else None),
            duration_s=duration_s,
            bit_depth=max(component.bits for component in frame.format.components),
            color=color_tags(frame, float(rate)),
            sample_aspect_ratio=1 / ratio if orientation.transpose else ratio,
            orientation=orientation,
            display_matrix=matrix,
            pix_fmt=frame.format.name,
            codec=stream.codec_context.name,
            container=container.format.name,
            alpha=hidden_alpha or is_transparent(frame) or becomes_transparent(container, stream, frame),
            light=light_of(frame),
            interlaced=frame.interlaced_frame,
            begins_s=Fraction(0) if frame.pts is None else frame.pts * ticks(stream),
        )


def first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    """Return the first frame that decodes; damaged packets before it are skipped."""
    error: av.FFmpegError | None = None
    for packet in readable_packets(container, [stream]):
        try:
            for frame in stream.decode(packet):
                return frame
        except av.InvalidDataError as caught:
            error = caught
        except av.FFmpegError as caught:
            error = caught
            break
    if error is None:
        raise MediaError(f"{path}: holds no frame that can be decoded; it is cut off or damaged")
    name = stream.codec_context.name
    raise MediaError(
        f"{path}: the first frame cannot be decoded ({name}: {reason(error)}){pipe_advice(path)}"
    ) from error


def announces_alpha(stream: VideoStream) -> bool:
    """Return whether VP8 or VP9 hides an alpha plane beside its images."""
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def is_transparent(frame: VideoFrame) -> bool:
    """Return whether the format has an alpha channel; for GIF and PNG, which always do, whether a frame uses it."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return frame.format.name not in ("bgra", "rgba") or bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


def becomes_transparent(container: InputContainer, stream: VideoStream, first: VideoFrame) -> bool:
    """Return whether a video whose format always has alpha uses it in one of the first 200 frames."""
    if first.format.name not in ("bgra", "rgba"):
        return False
    with suppress(av.FFmpegError, MediaError):  # damage is reported by the reader
        frames = (frame for packet in readable_packets(container, [stream]) for frame in stream.decode(packet))
        return any(is_transparent(frame) for frame in itertools.islice(frames, ALPHA_FRAMES))
    return False


def frame_rate(stream: VideoStream) -> Fraction:
    """Return the average rate, or FFmpeg's best guess where that is only the clock's millisecond tick."""
    average, guess = (Fraction(rate or 0) for rate in (stream.average_rate, stream.base_rate))
    if average == 1000 and guess:
        average = guess
    return average or guess or FALLBACK_RATE


def video_duration(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def color_tags(frame: VideoFrame, rate: float) -> ColorTags:
    """Return the colour tags of the first frame, with a guessed matrix where it has none."""
    if is_rgb(frame.format.name):
        return ColorTags(RGB, int(frame.color_primaries), int(frame.color_trc), True)
    matrix = int(frame.colorspace)
    guessed = matrix == UNSAID
    if guessed:
        matrix = guess_matrix(frame.height, rate)
    elif matrix == RGB:
        matrix = BT709  # a YCbCr format cannot mean RGB: a wrong tag
    full = int(frame.color_range) == 2 or frame.format.name.startswith("yuvj")
    return ColorTags(matrix, int(frame.color_primaries), int(frame.color_trc), full, guessed)


def side_data(frame: VideoFrame, kind: SideData) -> bytes | None:
    try:
        return bytes(frame.side_data[kind])  # type: ignore[literal-required]
    except (KeyError, ValueError):  # absent, or beside a kind that PyAV has no name for
        return None


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """Return the nine 16.16 numbers of the file's display matrix, or None when images are upright already."""
    if raw := side_data(frame, SideData.DISPLAYMATRIX):
        return tuple(np.frombuffer(raw, np.int32, 9).tolist())
    return QUARTER_TURNS.get(frame.rotation % 360)


def orientation_of(matrix: tuple[int, ...]) -> Orientation:
    """Convert a display matrix to quarter turns and mirrors; an angle in between goes to the nearest quarter.

    A pixel (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def light_of(frame: VideoFrame) -> Light:
    """Return a frame's HDR10 metadata in the units of x265: 0.00002 for chromaticity, 0.0001 cd/m2 for luminance."""
    mastering = content = None
    if raw := side_data(frame, SideData.MASTERING_DISPLAY_METADATA):
        numbers = np.frombuffer(raw, np.int32, 22).tolist()
        ratios = [n / d if d else 0.0 for n, d in zip(numbers[0:20:2], numbers[1:20:2], strict=True)]
        has_primaries, has_luminance = numbers[20:22]
        if has_primaries and has_luminance:
            red, green, blue, white = (tuple(round(v * 50000) for v in ratios[i : i + 2]) for i in range(0, 8, 2))
            least, most = (round(v * 10000) for v in ratios[8:10])
            points = "".join(f"{n}({x},{y})" for n, (x, y) in zip("GBR", (green, blue, red), strict=True))
            mastering = f"{points}WP({white[0]},{white[1]})L({most},{least})"
    if raw := side_data(frame, SideData.CONTENT_LIGHT_LEVEL):
        most, average = np.frombuffer(raw, np.uint32, 2).tolist()
        content = (most, average)
    return Light(mastering, content)
