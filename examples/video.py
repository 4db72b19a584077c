"""Upscale one video with progress: python examples/video.py in.mp4 out.mp4"""

import sys

from osediff_video import Progress, upscale


def show(progress: Progress) -> None:
    print(f"\r{progress.frames} of {progress.total or '?'}, {progress.fps:.1f} frames per second", end="", flush=True)


def main(source: str, target: str) -> None:
    result = upscale(source, target, model="lite", overwrite=True, progress=show)
    print(f"\n{result.target}: {result.frames} frames", *result.notes, sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
