"""Export finished segments as something other than a video: a folder of frames, or a GIF."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
from av.container import OutputContainer
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from image_core.errors import OutputError
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.media.color import rgb_layout
from osediff_video.media.container import ffmpeg_name, open_container, reason
from osediff_video.media.deinterlace import pulled
from osediff_video.media.gif_tags import GifTags, write_comment
from osediff_video.media.writing.encoder import EncoderPlan
from osediff_video.media.writing.segment import Segment
from osediff_video.suffixes import frame_name
from osediff_video.types import ImageArray, Plane

LONGEST_DELAY = 65535
"""In hundredths of a second, of a GIF."""


def stored_frames(folder: Path, segments: list[Segment]) -> Iterator[tuple[VideoFrame, int]]:
    """Yield every frame of lossless segments with its exact pts."""
    for segment in segments:
        with open_container(segment.file(folder)) as container:
            yield from zip(container.decode(video=0), sorted(segment.order), strict=True)


def export_folder(folder: Path, segments: list[Segment], plan: EncoderPlan, target: Path) -> None:
    """Write the numbered frames, from 1, into `target`, which must not exist. Raises OutputError."""
    layout = rgb_layout("16" in plan.pix_fmt, plan.alpha)
    shutil.rmtree(target, ignore_errors=True)
    try:
        target.mkdir()
        for number, (frame, _) in enumerate(stored_frames(folder, segments), 1):
            pixels = frame.to_ndarray(format=layout)
            alpha = cast(Plane, pixels[..., 3]) if plan.alpha else None
            path = target / frame_name(plan.frames, number)
            image, _ = ImageFile(cast(ImageArray, pixels[..., :3]), alpha).fitted(path.suffix)  # noted in the plan
            write_image(path, image)
    except (OSError, av.FFmpegError) as error:
        raise OutputError(
            f"{target}: writing the frames failed ({reason(error)}); run the same command again to resume"
        ) from error


def export_gif(folder: Path, segments: list[Segment], plan: EncoderPlan, target: Path, tags: GifTags) -> None:
    """Write a GIF with one palette of 256 colours for the whole video, dithered. Raises OutputError."""
    last = round(segments[-1].last_duration * plan.time_base * 100)
    options = {"loop": str(tags.loop), "final_delay": str(min(last, LONGEST_DELAY)) if last else "-1"}
    try:
        palette = video_palette(folder, segments, plan)
        with av.open(ffmpeg_name(target), "w", format="gif", container_options=options) as output:
            stream = output.add_stream("gif", rate=plan.rate)
            stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "pal8"
            stream.codec_context.time_base = plan.time_base
            graph, inputs = palette_graph(plan)
            inputs[1].push(palette)
            inputs[1].push(None)
            times = []
            for frame, pts in stored_frames(folder, segments):
                times.append(pts)
                frame.pts, frame.time_base = len(times) - 1, plan.time_base
                inputs[0].push(frame)
                mux_pulled(graph, stream, output, times, plan)
            inputs[0].push(None)
            mux_pulled(graph, stream, output, times, plan)
            output.mux(stream.encode(None))
        write_comment(target, tags.comment)
    except (OSError, ValueError, av.FFmpegError) as error:
        raise OutputError(f"{target}: writing the GIF failed ({reason(error)})") from error


def mux_pulled(graph: Graph, stream: VideoStream, output: OutputContainer, times: list[int], plan: EncoderPlan) -> None:
    for image in pulled(graph):
        assert image.pts is not None
        image.pts, image.time_base = times[image.pts], plan.time_base
        output.mux(stream.encode(image))


def video_buffer(graph: Graph, plan: EncoderPlan) -> FilterContext:
    return graph.add_buffer(
        width=plan.width,
        height=plan.height,
        format=av.VideoFormat(plan.pix_fmt),
        time_base=plan.time_base,
        name="video",
    )


def video_palette(folder: Path, segments: list[Segment], plan: EncoderPlan) -> VideoFrame:
    graph = Graph()
    maker = graph.add("palettegen", f"reserve_transparent={int(plan.alpha)}")
    graph.link_nodes(video_buffer(graph, plan), maker, graph.add("buffersink")).configure()
    for number, (frame, _) in enumerate(stored_frames(folder, segments)):
        frame.pts, frame.time_base = number, plan.time_base
        graph.vpush(frame)
    graph.vpush(None)
    return graph.vpull()


def palette_graph(plan: EncoderPlan) -> tuple[Graph, list]:
    graph = Graph()
    video = video_buffer(graph, plan)
    colors = graph.add_buffer(
        width=16, height=16, format=av.VideoFormat("bgra"), time_base=plan.time_base, name="colors"
    )
    use, sink = graph.add("paletteuse"), graph.add("buffersink")
    video.link_to(use, 0, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink, 0, 0)
    graph.configure()
    return graph, [video, colors]
