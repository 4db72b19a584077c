"""Upscale a video with settings for single shots: python examples/shots.py in.mp4 out.mp4"""

import sys
import tempfile
from pathlib import Path

from osediff_video import VideoOptions, upscale

SHOTS = """
[[shot]]
start = "0:00"
strength = 0.5          # half the model's effect until the next start

[[shot]]
start = "0:01"
color_fix = "wavelet"   # colours held to the input's from here
"""


def main(source: str, target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shots = Path(folder) / "shots.toml"
        shots.write_text(SHOTS)
        result = upscale(source, target, model="lite", overwrite=True, video=VideoOptions(shots=str(shots)))
    print(result.target, result.frames)


if __name__ == "__main__":
    main(*sys.argv[1:3])
