"""Upscale one image file: python examples/image.py in.png out.png"""

import sys

from osediff_video import upscale_image


def main(source: str, target: str) -> None:
    print(upscale_image(source, target, model="lite", overwrite=True))


if __name__ == "__main__":
    main(*sys.argv[1:3])
