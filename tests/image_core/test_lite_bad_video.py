"""What ships makes nothing worse than a resize on video that is bad in itself: blocks, combs, black bars, grain.

The embedded models with their real weights; the pictures are drawn, the damage is real: a real encoder, real fields.
"""

import io

import av
import cv2
import numpy as np
import pytest

from osediff_video.metrics.image import luma, psnr, ssim
from tests.support.embedded import MODELS, SCALE, embedded, plain, small

HEIGHT, WIDTH = 256, 384
BAR_PX = 48


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return embedded(request.param)


def scene(moved_px=0.0):
    """A street of houses under a sky: shading, straight and round edges, texture, all moved to the right."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    x = x - moved_px
    page = np.stack([120 + 0.3 * y, 140 + 0.2 * y, 190 - 0.1 * y], -1)
    front = (y > 70) & (np.floor(x / 64) % 2 == 0)
    page[front] = np.stack([150 + 0 * y, 90 + 0.1 * y, 70 + 0 * y], -1)[front]
    windows = front & (x % 16 > 5) & (y % 24 > 9)
    page[windows] = (40, 50, 70)
    page[(x - 96) ** 2 + (y - 40) ** 2 < 26**2] = (240, 220, 130)
    page[y > 210] *= 0.6
    page += 10 * np.sin(x / 2.3 + y / 3.1)[..., None] * (y > 210)[..., None]
    return np.clip(np.rint(page), 0, 255).astype(np.uint8)


def coded(frames, crf):
    """The last of frames (H, W, 3) after libx264 at a low bit rate."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="matroska") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"crf": str(crf), "preset": "veryfast", "threads": "1"}
        )
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    stored.seek(0)
    with av.open(stored) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][-1]


def blocks():
    truths = [scene(4 * index) for index in range(4)]
    return truths[-1], coded([small(truth) for truth in truths], 40)


def combs():
    """Two fields of a moving picture in one frame, not deinterlaced."""
    first, second = scene(), scene(16)
    low = small(first)
    low[1::2] = small(second)[1::2]
    return first, low


def grain():
    rng = np.random.default_rng(5)
    low = (
        small(scene()) + cv2.GaussianBlur(rng.normal(0, 14, (HEIGHT // SCALE, WIDTH // SCALE)), (0, 0), 0.6)[..., None]
    )
    return scene(), np.clip(np.rint(low), 0, 255).astype(np.uint8)


def subtitles():
    page = scene()
    for colour, thickness in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.putText(
            page, "and then she said:", (30, 230), cv2.FONT_HERSHEY_SIMPLEX, 1.1, colour, thickness, cv2.LINE_AA
        )
    return page, coded([small(page)] * 3, 26)


def screen():
    """Windows with thin frames and letters on flat areas, as a recorded desktop."""
    page = np.full((HEIGHT, WIDTH, 3), 228, np.uint8)
    for left, top in ((12, 12), (120, 60), (220, 28)):
        cv2.rectangle(page, (left, top), (left + 150, top + 160), (250, 250, 250), -1)
        cv2.rectangle(page, (left, top), (left + 150, top + 160), (90, 90, 90), 2)
        cv2.rectangle(page, (left, top), (left + 150, top + 20), (60, 110, 200), -1)
        for line in range(4):
            place = (left + 8, top + 50 + 30 * line)
            cv2.putText(page, "File Edit", place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (20, 20, 20), 2, cv2.LINE_AA)
    return page, coded([small(page)] * 3, 28)


def letterbox():
    page = scene()
    page[:BAR_PX], page[-BAR_PX:] = 0, 0
    return page, coded([small(page)] * 3, 28)


@pytest.mark.parametrize(
    "material", [blocks, grain, subtitles, screen, letterbox], ids=lambda material: material.__name__
)
def test_bad_video_is_no_worse_than_by_a_resize(model, material):
    truth, low = material()
    result, resized = model(low), plain(low)
    assert psnr(luma(result), luma(truth)) > psnr(luma(resized), luma(truth)) - 0.5
    assert ssim(luma(result), luma(truth)) > ssim(luma(resized), luma(truth)) - 0.02
    assert np.abs(result.mean((0, 1)) - resized.mean((0, 1))).max() < 3


def test_black_bars_stay_black_and_their_edge_where_it_is(model):
    truth, low = letterbox()
    result, resized = luma(model(low)), luma(plain(low))
    away = BAR_PX - 2 * SCALE
    for bar in (slice(None, away), slice(-away, None)):
        assert np.abs(result[bar] - resized[bar]).max() <= 5
    for rows in (slice(0, 2 * BAR_PX), slice(-2 * BAR_PX, None)):  # half black, half picture
        errors = [np.abs(image[rows] - luma(truth)[rows]).mean() for image in (result, resized)]
        assert errors[0] < 1.1 * errors[1]


def test_combs_are_drawn_no_harder_than_they_came(model):
    """What alternates between the two fields; a resize blurs it, and so hides a third."""
    _, low = combs()

    def strength(image):
        return np.abs(image[1:-1] - (image[:-2] + image[2:]) / 2).mean()

    assert strength(small(luma(model(low)))) < 1.2 * strength(luma(low))
