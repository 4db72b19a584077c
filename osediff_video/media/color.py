"""Convert between the samples of a codec and RGB, with the stream's matrix and range stated explicitly each time.

FFmpeg's own default is BT.601 whatever the stream says, which shifts every HD image.
"""

from typing import cast

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from osediff_video.types import ColorTags, ImageArray, Plane

UNSAID, RGB, BT709, BT470BG, SMPTE170M = 2, 0, 1, 5, 6
"""Matrix coefficients of ITU-T H.273."""

SWS_MATRIX = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# rounded, with chroma interpolated at full width: swscale's fast paths are off by several levels
EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)


def guess_matrix(height: int, rate: float) -> int:
    """Guess the matrix of an untagged video: HD is BT.709, 625-line video BT.470BG, the rest SMPTE 170M."""
    if height >= 720:
        return BT709
    return BT470BG if height in (288, 576) and abs(rate - 25) < 0.1 else SMPTE170M


def is_rgb(pix_fmt: str) -> bool:
    return any(mark in pix_fmt for mark in ("rgb", "bgr", "gbr", "pal8", "monow", "monob"))


def rgb_layout(deep: bool, alpha: bool) -> str:
    """Return FFmpeg's name of our images: packed RGB of 8 or 16 bit, with or without alpha."""
    return ("rgba64le" if deep else "rgba") if alpha else ("rgb48le" if deep else "rgb24")


class ColorConverter:
    """Convert the frames of one stream. Holds one scaler, since FFmpeg leaks when many are created."""

    def __init__(self, color: ColorTags) -> None:
        self.reformatter = VideoReformatter()
        self.matrix = SWS_MATRIX.get(color.matrix, Colorspace.ITU709)
        self.range = ColorRange.JPEG if color.full_range else ColorRange.MPEG

    def to_rgb(
        self, frame: VideoFrame, width: int, height: int, deep: bool, alpha: bool = False
    ) -> tuple[ImageArray, Plane | None]:
        """Convert a frame to RGB (H, W, 3), and to alpha (H, W) if requested; uint16 if `deep`, else uint8. Copies."""
        rgb = is_rgb(frame.format.name)
        converted = self.reformatter.reformat(
            frame,
            width,
            height,
            rgb_layout(deep, alpha),
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=ColorRange.JPEG if rgb else self.range,
            dst_color_range=ColorRange.JPEG,
            interpolation=EXACT,
        )
        # a copy: the planes of the frame go back to FFmpeg's pool
        pixels = converted.to_ndarray().copy()
        if not alpha:
            return cast(ImageArray, pixels), None
        return cast(ImageArray, np.ascontiguousarray(pixels[..., :3])), cast(
            Plane, np.ascontiguousarray(pixels[..., 3])
        )

    def from_rgb(self, image: ImageArray, pix_fmt: str, alpha: Plane | None = None) -> VideoFrame:
        """Return a frame in the encoder's pixel format. image: (H, W, 3) RGB. alpha: (H, W) or None."""
        pixels = cast(ImageArray, np.ascontiguousarray(image) if alpha is None else np.dstack([image, alpha]))
        # no copy: what keeps a frame without buffers of FFmpeg's own copies it
        frame = VideoFrame.from_numpy_buffer(pixels, rgb_layout(image.dtype == np.uint16, alpha is not None))
        rgb = is_rgb(pix_fmt)
        return self.reformatter.reformat(
            frame,
            format=pix_fmt,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if rgb else self.range,
            interpolation=EXACT,
        )
