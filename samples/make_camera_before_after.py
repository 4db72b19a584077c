"""Make samples/camera_before_after.png: camera footage, reduced, through H.264, enlarged by bicubic and by lite.

Run from the project's root with the clip that samples/README.md names: python samples/make_camera_before_after.py CLIP
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from image_core.images import ImageArray, enlarge

FOLDER = Path(__file__).parent
FRAMES, SHOWN = 16, 12
BLUR, CRF = 1.6, 28
LEFT, TOP, WIDTH, HEIGHT = 360, 330, 480, 360


def degrade(clip: Path, target: Path) -> None:
    """Write the first frames of `clip`, blurred, at a quarter of their size, through H.264."""
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=Fraction(30), options={"crf": str(CRF)})
        for number, frame in enumerate(source.decode(video=0)):
            if number == FRAMES:
                break
            image = cv2.GaussianBlur(frame.to_ndarray(format="rgb24"), (0, 0), BLUR)
            image = np.ascontiguousarray(image[::4, ::4][: image.shape[0] // 8 * 2, : image.shape[1] // 8 * 2])
            if not number:
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())


def frame_of(video: Path) -> ImageArray:
    """Return the frame that is shown, uint8 RGB, (H, W, 3)."""
    with av.open(str(video)) as source:
        return [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)][SHOWN]


def main(clip: Path) -> None:
    from click.testing import CliRunner

    from cli.main import cli

    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.mp4", Path(folder) / "large.mkv"
        degrade(clip, small)
        words = ["upscale", str(small), "-o", str(large), "--model", "lite", "--codec", "ffv1"]
        outcome = CliRunner().invoke(cli, words)
        assert outcome.exit_code == 0, outcome.output
        after = frame_of(large)
        pair = (enlarge(frame_of(small), *after.shape[:2]), after)
    crops = [image[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH] for image in pair]
    Image.fromarray(np.concatenate(crops, axis=1)).quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(
        FOLDER / "camera_before_after.png", optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
