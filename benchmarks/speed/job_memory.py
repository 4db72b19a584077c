"""Does memory depend on the length of a video? Peak resident memory of a short and a long one, each in its own process.

python -m benchmarks.speed.job_memory [--frames 300 20000]

A 64 x 48 video without a model. Prints one JSON line; growth_mb is what the longer video takes more.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path


def child(source: Path, target: Path) -> None:
    from osediff_video.encoding import Encoding
    from osediff_video.plain_resize import PlainResize
    from osediff_video.run import upscale_video

    result = upscale_video(source, target, PlainResize(2), Encoding(preset="ultrafast"))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    verified = result.verification is not None and result.verification.ok
    sys.stdout.write(json.dumps({"frames": result.frames, "peak_mb": round(peak_mb, 1), "verified": verified}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs=2, default=[300, 20_000])
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    from tests.support.media_files import write_video

    actual = []
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.frames:
            source = write_video(
                Path(folder) / f"{count}.mkv",
                [40 * n for n in range(count)],
                time_base=Fraction(1, 1000),
                options={"preset": "ultrafast"},
                sound_from=Fraction(0),
            )
            command = [
                sys.executable,
                "-m",
                "benchmarks.speed.job_memory",
                "--child",
                source,
                f"{folder}/{count}_out.mp4",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            actual.append(json.loads(done.stdout))
    line = {"short": actual[0], "long": actual[1], "growth_mb": round(actual[1]["peak_mb"] - actual[0]["peak_mb"], 1)}
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
