"""Detect interlaced videos, and make whole images of their fields."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from osediff_video.media.container import UnreadableError, open_container, readable_packets, video_stream

Timed = tuple[VideoFrame, int | None]
"""A decoded frame and its presentation time."""

SAMPLE_FRAMES = 200


def deinterlaced(frames: Iterator[Timed], stream: VideoStream) -> Iterator[Timed]:
    """Yield every frame after bwdif: as many come out as go in, at the same times."""
    graph, times = chain("bwdif", "mode=send_frame:deint=all", stream), deque[int | None]()
    for number, (frame, pts) in enumerate(frames):
        times.append(pts)
        duration, frame.pts = frame.duration, number
        graph.vpush(frame)
        for woven in pulled(graph):
            woven.duration = duration
            yield woven, times.popleft()
    graph.vpush(None)
    for woven in pulled(graph):
        yield woven, times.popleft()


def chain(name: str, arguments: str, stream: VideoStream) -> Graph:
    graph = Graph()
    graph.link_nodes(graph.add_buffer(template=stream), graph.add(name, arguments), graph.add("buffersink")).configure()
    return graph


def pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def look_for_fields(path: Path) -> tuple[bool, str | None]:
    """Return whether the video is interlaced, and what the user should know.

    Interlaced is what says so and looks so: images alone deceive (a fine pattern combs too), and so do flags (whole
    images are often sent as fields). Reads up to 200 frames. Raises MediaError.
    """
    flagged = count = 0
    graph: Graph | None = None
    last: VideoFrame | None = None
    with open_container(path) as container:
        stream = video_stream(container, path)
        with suppress(av.FFmpegError, UnreadableError):  # damage is reported by the reader
            for frame in (frame for packet in readable_packets(container, [stream]) for frame in stream.decode(packet)):
                graph = graph or chain("idet", "", stream)
                flagged, count = flagged + frame.interlaced_frame, count + 1
                graph.vpush(frame)
                last = next(iter(deque(pulled(graph), maxlen=1)), last)
                if count == SAMPLE_FRAMES:
                    break
    seen = {} if last is None else last.metadata
    combed, whole, repeated = (
        sum(float(seen.get(f"lavfi.idet.{key}", 0)) for key in keys)
        for keys in (
            ("multiple.tff", "multiple.bff"),
            ("multiple.progressive",),
            ("repeated.top", "repeated.bottom"),
        )
    )
    if repeated > 0.15 * count and combed:
        return False, (
            "every fifth image or so repeats a field: this looks telecined; removing the pulldown first gives a "
            "better result than deinterlacing"
        )
    if flagged * 2 > count and combed >= whole:
        return True, None
    if combed > 4 * whole and combed > count / 2:
        return False, "images look interlaced though the file does not say so; --deinterlace on if you see combing"
    return False, None
