"""What the job costs beside the model: `upscale` with a plain resize against a bare PyAV decode-resize-encode loop.

python -m benchmarks.speed.overhead [--video VIDEO] [--scale 2] [--rounds 3]

Both run in turn in one process, with the same decoder, resize, pixel format and encoder settings. Prints one JSON line;
ratio is the frames per second of `upscale` over those of the loop, from the best round of each.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import av
import cv2

from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "clip.mp4"


def bare(source: Path, target: Path, scale: int, preset: str) -> int:
    """Decode to RGB, resize, encode; sound is left out, times and colours are not looked after."""
    count = 0
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        stream = writer.add_stream("libx264", rate=video.average_rate, options={"crf": "16", "preset": preset})
        stream.width, stream.height, stream.pix_fmt = video.width * scale, video.height * scale, "yuv420p"
        stream.codec_context.time_base = video.time_base
        for frame in reader.decode(video):
            image = frame.to_ndarray(format="rgb24")
            large = cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_CUBIC)
            result = av.VideoFrame.from_ndarray(large, "rgb24")
            result.pts, result.time_base = frame.pts, frame.time_base
            writer.mux(stream.encode(result))
            count += 1
        writer.mux(stream.encode())
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, default=SAMPLE)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {"bare": [], "upscale": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            started = time.perf_counter()
            count = bare(arguments.video, Path(folder) / f"bare{number}.mp4", arguments.scale, arguments.preset)
            rates["bare"].append(count / (time.perf_counter() - started))
            result = upscale_video(
                arguments.video,
                Path(folder) / f"job{number}.mp4",
                PlainResize(arguments.scale),
                Encoding("libx264", crf=16, preset=arguments.preset, pix_fmt="yuv420p"),
                VideoOptions(temporal="off"),
            )
            rates["upscale"].append(result.frames / result.elapsed_s)
    best = {name: max(values) for name, values in rates.items()}
    line = {
        "video": arguments.video.name,
        "frames": count,
        "scale": arguments.scale,
        "preset": arguments.preset,
        "bare_fps": round(best["bare"], 1),
        "upscale_fps": round(best["upscale"], 1),
        "ratio": round(best["upscale"] / best["bare"], 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
