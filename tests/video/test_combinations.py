"""A job that was stopped ends as one that was not, whatever settings meet: every pair of values stands in some row."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.run import upscale_video
from tests.support.media_files import read, write_video
from tests.support.tiny_lite import random_generator, upscaler

COUNT, SIZE, STEP, RATE = 44, (24, 32), 2048, Fraction(25, 4)
"""Segments of 25 frames."""
SETTINGS = {
    "temporal": ("pixel", "latent", "off"),
    "color_fix": ("adain", "wavelet", "none"),
    "repeats": (True, False),
    "batch": (1, 4),
    "cuts": ("auto", "off"),
    "codec": ("ffv1", "x264"),
    "stop_at": (28, 38),
}
ROWS = [
    ("pixel", "adain", True, 4, "auto", "ffv1", 28),
    ("pixel", "wavelet", False, 1, "off", "x264", 38),
    ("pixel", "none", True, 1, "auto", "x264", 38),
    ("latent", "adain", False, 1, "off", "ffv1", 38),
    ("latent", "wavelet", True, 4, "auto", "x264", 28),
    ("latent", "none", False, 4, "auto", "ffv1", 28),
    ("off", "adain", True, 4, "off", "x264", 38),
    ("off", "wavelet", False, 1, "auto", "ffv1", 28),
    ("off", "none", True, 1, "off", "ffv1", 28),
]


def test_every_pair_of_values_stands_in_some_row():
    for (at, one), (beside, other) in itertools.combinations(enumerate(SETTINGS.values()), 2):
        for pair in itertools.product(one, other):
            assert any((row[at], row[beside]) == pair for row in ROWS), pair


def frames(repeats):
    """Noise that moves, with a cut, and stills if asked."""
    draw = np.random.default_rng(0)
    texture = draw.integers(0, 256, (64, 300, 3), dtype=np.uint8)
    images = [texture[8:32, n : n + 32] if n < 30 else 255 - texture[30:54, n : n + 32] for n in range(COUNT)]
    return [images[n // 2 * 2] if repeats and n > 10 else image for n, image in enumerate(images)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row)))
def test_stopped_and_resumed_is_as_if_never_stopped(row, tmp_path):
    chosen = dict(zip(SETTINGS, row, strict=True))
    source = write_video(tmp_path / "in.mkv", [STEP * n for n in range(COUNT)], images=frames(chosen["repeats"]),
                         codec="ffv1", pix_fmt="bgr0", tags=None, size=SIZE, rate=RATE)  # fmt: skip
    model = upscaler(random_generator(), scale=1, color_fix=chosen["color_fix"], batch=chosen["batch"])
    options = VideoOptions(temporal=chosen["temporal"], cuts=chosen["cuts"])
    # small images with losses are other bits each time; without loss the encoder decides nothing
    encoding = Encoding("ffv1") if chosen["codec"] == "ffv1" else Encoding("x264", crf=0, pix_fmt="yuv444p")

    def stop(state):
        if state.frames >= chosen["stop_at"]:
            raise KeyboardInterrupt

    whole, target = tmp_path / "whole.mkv", tmp_path / "stopped.mkv"
    upscale_video(source, whole, model, encoding, options)
    with pytest.raises(KeyboardInterrupt):
        upscale_video(source, target, model, encoding, options, progress=stop)
    result = upscale_video(source, target, model, encoding, options)
    assert result.resumed and result.verification.ok
    for number, (one, other) in enumerate(zip(read(target), read(whole), strict=True)):
        assert one.pts == other.pts and np.array_equal(one.image, other.image), number
