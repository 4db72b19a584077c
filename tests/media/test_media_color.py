"""Colours through FFmpeg and back, against the equations of ITU-T H.273."""

import av
import numpy as np
import pytest

from osediff_video.media.color import ColorConverter, guess_matrix
from osediff_video.media.probe import probe
from osediff_video.types import ColorTags
from tests.support.media_files import read, write_video

LUMA = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr, Kb by H.273 matrix
PATCHES = [(200, 60, 40), (10, 120, 240), (255, 255, 255), (0, 0, 0), (128, 128, 128), (30, 200, 90), (250, 240, 10)]


def ycbcr(rgb, matrix, full_range, bits):
    """H.273 equations: R'G'B' of 8 bit to code values of `bits` bit."""
    kr, kb = LUMA[matrix]
    r, g, b = (value / 255 for value in rgb)
    y = kr * r + (1 - kr - kb) * g + kb * b
    cb, cr = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    if full_range:
        white = 2**bits - 1
        return [y * white, cb * white + 2 ** (bits - 1), cr * white + 2 ** (bits - 1)]
    unit = 2 ** (bits - 8)
    return [(16 + 219 * y) * unit, (128 + 224 * cb) * unit, (128 + 224 * cr) * unit]


def to_rgb(codes, matrix, full_range, bits):
    """The inverse, on rounded code values, to 0..255."""
    kr, kb = LUMA[matrix]
    low, white, half = 16 * 2 ** (bits - 8), 2**bits - 1, 2 ** (bits - 1)
    y, cb, cr = codes
    if full_range:
        y, cb, cr = y / white, (cb - half) / white, (cr - half) / white
    else:
        y, cb, cr = (y - low) / (219 * 2 ** (bits - 8)), *((c - half) / (224 * 2 ** (bits - 8)) for c in (cb, cr))
    r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.array((r, g, b)) * 255, 0, 255)


@pytest.mark.parametrize("matrix", LUMA)
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("pix_fmt", "bits"), [("yuv420p", 8), ("yuv444p", 8), ("yuv420p10le", 10), ("yuv444p12le", 12)]
)
def test_flat_patches_are_within_one_level_both_ways(matrix, full_range, pix_fmt, bits):
    converter = ColorConverter(ColorTags(matrix, 1, 1, full_range))
    dtype = np.uint8 if bits == 8 else np.uint16
    for rgb in PATCHES:
        codes = [round(value) for value in ycbcr(rgb, matrix, full_range, bits)]
        frame = av.VideoFrame(32, 16, pix_fmt)
        for plane, code in zip(frame.planes, codes, strict=True):
            samples = np.full((plane.height, plane.line_size // dtype(0).itemsize), code, dtype)
            plane.update(samples.tobytes())
        image, _ = converter.to_rgb(frame, 32, 16, deep=bits > 8)
        result = image.reshape(-1, 3).astype(float) / (257 if bits > 8 else 1)
        assert np.abs(result - to_rgb(codes, matrix, full_range, bits)).max() <= 1
        back = converter.from_rgb(image, pix_fmt)
        for plane, code in zip(back.planes, codes, strict=True):
            samples = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width]
            assert np.abs(samples.astype(int) - code).max() <= 2 ** (bits - 8)


@pytest.mark.parametrize(
    ("height", "rate", "matrix"), [(1080, 24, 1), (720, 50, 1), (576, 25, 5), (480, 29.97, 6), (360, 24, 6)]
)
def test_the_guess_for_untagged_videos(height, rate, matrix):
    assert guess_matrix(height, rate) == matrix


@pytest.mark.parametrize("matrix", [1, 6])
def test_a_tagged_video_is_read_by_its_tag_and_an_untagged_one_by_its_size(tmp_path, matrix):
    image = np.full((48, 64, 3), PATCHES[0], np.uint8)
    for tags in ((matrix, 1, matrix, matrix), None):
        path = write_video(tmp_path / f"{bool(tags)}.mp4", [0, 512], tags=tags, images=[image] * 2, options={"qp": "1"})
        result = probe(path)
        assert result.color.guessed == (tags is None) and result.color.matrix == (matrix if tags else 6)
        if tags:
            first = read(path)[0].image
            assert np.abs(first.astype(int) - image).max() <= 2
