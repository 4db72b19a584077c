"""Write videos to standard output: `-` as the target."""

import sys
from collections.abc import Iterable

import av

from image_core.errors import OutputError
from osediff_video.media.container import reason
from osediff_video.media.writing.encoder import Encoder, EncoderPlan, add_video
from osediff_video.types import Frame

MUXER = {"matroska": "matroska", "nut": "nut", "y4m": "yuv4mpegpipe"}


class PipeOut:
    """Give FFmpeg standard output to write to; everything else printed there goes elsewhere."""

    def write(self, data: bytes) -> int:
        return sys.stdout.buffer.write(data)


def write_pipe(frames: Iterable[Frame], plan: EncoderPlan, pipe_format: str) -> int:
    """Encode frames to standard output; return their number. Raises OutputError when the reader goes away."""
    count = 0
    try:
        with av.open(PipeOut(), "w", format=MUXER[pipe_format]) as container:
            stream = add_video(container, plan)
            encoder = Encoder(stream, plan)
            for count, frame in enumerate(frames, 1):  # noqa: B007 - the last count is the result
                container.mux(encoder.encode(frame))
            container.mux(encoder.flush())
        sys.stdout.buffer.flush()
    except (av.FFmpegError, OSError, ValueError) as error:
        raise OutputError(f"standard output: writing failed ({reason(error)}) after {count} frames") from error
    return count
