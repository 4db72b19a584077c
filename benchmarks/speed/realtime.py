"""Feed a video to `upscale - -o - --realtime` at its own rate, and report how it was kept up with.

python -m benchmarks.speed.realtime samples/clip.mp4 [--scales 1 2 4] [--times 5] [--rate 24] [--temporal off]

Prints one JSON line for each scale: frames and seconds of the video (times over), frames that came out, how they were
made, the longest lateness, and processor seconds of the command, start included.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np

from image_core.device.tuned import machine

SUMMARY = re.compile(
    r"real time: (?P<asked>\d+) frames as asked(, (?P<fast>\d+) without the UNet)?(, (?P<resized>\d+) plainly resized)?"
    r"; (?P<changes>\d+) changes, at most (?P<latest_s>[\d.]+) s late"
)


class Pipe:
    """Give FFmpeg a pipe to write to, of which every packet is on its way at once."""

    def __init__(self, pipe: BinaryIO) -> None:
        self.pipe = pipe

    def write(self, data: bytes) -> int:
        self.pipe.write(data)
        self.pipe.flush()
        return len(data)


def read(path: Path) -> tuple[list[np.ndarray[Any, Any]], float]:
    """Return the images of a video and its rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate is not None
        return [frame.to_ndarray(format="yuv420p") for frame in container.decode(stream)], float(stream.average_rate)


def feed(images: Sequence[np.ndarray[Any, Any]], rate: float, times: int, pipe: BinaryIO) -> None:
    """Write the images as a live source does: each when its time has come."""
    height, width = images[0].shape[0] * 2 // 3, images[0].shape[1]
    with av.open(Pipe(pipe), "w", format="nut") as container:
        stream = container.add_stream("ffv1", rate=round(rate))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        began = time.monotonic()
        for number, image in enumerate(images * times):  # type: ignore[operator]
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pipe.close()


def measure(images: Sequence[np.ndarray[Any, Any]], rate: float, times: int, words: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "cli", "upscale", "-", "-o", "-", "--realtime", "--pipe-format", "y4m", *words]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin and process.stdout and process.stderr
        feeder = threading.Thread(target=feed, args=(images, rate, times, process.stdin), daemon=True)
        said: list[bytes] = []
        listener = threading.Thread(target=lambda: said.append(process.stderr.read()), daemon=True)  # type: ignore[union-attr]
        feeder.start()
        listener.start()
        while process.stdout.read(1 << 20):
            pass
        listener.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    words_said = said[0].decode()
    found = SUMMARY.search(words_said)
    if found is None:
        raise SystemExit(words_said)
    counts = {name: float(value or 0) for name, value in found.groupdict().items()}
    return {
        "frames": len(images) * times,
        "seconds": round(len(images) * times / rate, 2),
        **counts,
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--scales", nargs="+", default=["1", "2", "4"])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--rate", type=float, help="frames a second of the source, in place of the video's")
    parser.add_argument("--temporal", default="pixel")
    given = parser.parse_args()
    images, rate = read(given.video)
    rate = given.rate or rate
    for scale in given.scales:
        words = ["--model", "lite", "--scale", scale, "--temporal", given.temporal]
        row = measure(images, rate, given.times, words)
        print(json.dumps({"video": given.video.name, "rate": rate, "scale": scale, "temporal": given.temporal, **row,
                          "machine": machine()}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
