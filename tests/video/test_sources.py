"""One contract for everything that provides frames: videos, folders, animations, arrays, two sources side by side."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from image_core.errors import MediaError, OseDiffError
from osediff_video.options import VideoOptions
from osediff_video.sources.arrays import ArraySource
from osediff_video.sources.comparison import Comparison
from osediff_video.sources.open import open_source
from osediff_video.types import Faults
from tests.support.media_files import HEIGHT, WIDTH, sample_image, write_video

COUNT = 7
ALPHA = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))


def images(dtype=np.uint8):
    return [sample_image(index, dtype=dtype) for index in range(COUNT)]


def video(folder, codec="libx264", pix_fmt="yuv420p", name="in.mkv", tick=40):
    path = write_video(folder / name, [tick * n for n in range(COUNT)], time_base=Fraction(1, 25 * tick), codec=codec,
                       pix_fmt=pix_fmt, images=images(), last_duration=tick)  # fmt: skip
    return open_source(path, VideoOptions())[0]


def frame_folder(folder, alpha=False, deep=False):
    for number, image in enumerate(images(np.uint16 if deep else np.uint8)):
        path = folder / f"frame{number}.png"  # 10 would come after 9 only in natural order
        if deep:
            import cv2

            cv2.imwrite(str(path), image[..., ::-1])
        else:
            Image.fromarray(np.dstack([image, ALPHA]) if alpha else image).save(path)
    return open_source(folder, VideoOptions())[0]


def animation(folder, alpha=False):
    frames = [Image.fromarray(np.dstack([image, ALPHA]) if alpha else image) for image in images()]
    frames[0].save(folder / "in.webp", save_all=True, append_images=frames[1:], duration=40, lossless=True)
    return open_source(folder / "in.webp", VideoOptions())[0]


def comparison(folder):
    (folder / "frames").mkdir()
    return Comparison(video(folder), frame_folder(folder / "frames"), "side")


SOURCES = {
    "video": video,
    "video of 10 bit": lambda folder: video(folder, "ffv1", "yuv420p10le"),
    "video with alpha": lambda folder: video(folder, "ffv1", "bgra"),
    "video in AVI": lambda folder: video(folder, "mpeg4", name="in.avi", tick=1),
    "folder": frame_folder,
    "folder of 16 bit": lambda folder: frame_folder(folder, deep=True),
    "folder with alpha": lambda folder: frame_folder(folder, alpha=True),
    "animation": animation,
    "animation with alpha": lambda folder: animation(folder, alpha=True),
    "arrays": lambda _: ArraySource(images()),
    "arrays of 16 bit": lambda _: ArraySource(images(np.uint16)),
    "comparison": comparison,
}
ONCE = ("arrays", "arrays of 16 bit")


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    return SOURCES[request.param](tmp_path)


@pytest.fixture(params=[name for name in SOURCES if name not in ONCE])
def lasting(request, tmp_path):
    """A source that can be read again."""
    return SOURCES[request.param](tmp_path)


def same(one, two):
    planes = (one.alpha is None) == (two.alpha is None) and (one.alpha is None or np.array_equal(one.alpha, two.alpha))
    return one.pts == two.pts and one.duration == two.duration and np.array_equal(one.image, two.image) and planes


def test_frames_are_what_the_info_says(source):
    frames, info = list(source.frames()), source.info
    assert len(frames) == COUNT and info.frame_count_estimate in (COUNT, None)
    dtype = np.uint16 if info.bit_depth > 8 else np.uint8
    for frame in frames:
        assert frame.image.shape == (info.height, info.width, 3) and frame.image.dtype == dtype
        assert (frame.alpha is not None) == info.alpha
        if frame.alpha is not None:
            assert frame.alpha.shape == frame.image.shape[:2] and frame.alpha.dtype == dtype


def test_frames_come_in_order_with_rising_times_of_the_time_base(source):
    frames, info = list(source.frames()), source.info
    assert all(before.pts < after.pts for before, after in itertools.pairwise(frames))
    times = [(frame.pts - frames[0].pts) * info.time_base for frame in frames]
    assert np.allclose([float(t) for t in times], [n / 25 for n in range(COUNT)], atol=1e-3)
    assert all(0 <= frame.duration * info.time_base <= Fraction(1, 12) for frame in frames)


def test_every_image_is_the_one_of_its_place(source):
    for number, frame in enumerate(source.frames()):
        image = frame.image[:, -WIDTH:].astype(float) / np.iinfo(frame.image.dtype).max * 255
        errors = [np.abs(image - other).mean() for other in images()]
        assert int(np.argmin(errors)) == number and min(errors) < 6


def test_a_source_without_faults_has_none(source):
    assert len(list(source.frames())) == COUNT
    assert source.faults == Faults() and not source.jumps


@pytest.mark.parametrize("skip", [1, 3, COUNT - 1, COUNT])
def test_skipping_is_leaving_out_the_first_frames(lasting, skip):
    whole = list(lasting.frames())
    rest = list(lasting.frames(skip))
    assert len(rest) == COUNT - skip
    assert all(same(one, two) for one, two in zip(whole[skip:], rest, strict=True))


def test_reading_again_gives_the_same(lasting):
    assert all(same(one, two) for one, two in zip(lasting.frames(), lasting.frames(), strict=True))


def test_the_last_sign_is_a_time_or_never(source):
    frames = source.frames()
    next(frames)
    assert source.last_sign > 0


def broken_video(folder):
    (folder / "in.mp4").write_bytes(b"\0" * 400)
    return open_source(folder / "in.mp4", VideoOptions())[0]


def mixed_folder(folder):
    for number, side in enumerate((40, 40, 48)):
        Image.fromarray(sample_image(number, side, side)).save(folder / f"{number}.png")
    return open_source(folder, VideoOptions())[0]


def mixed_arrays(_):
    return ArraySource([sample_image(0), sample_image(1, 20, 20)])


def broken_animation(folder):
    animation(folder)
    data = (folder / "in.webp").read_bytes()
    (folder / "in.webp").write_bytes(data[:60] + bytes(len(data) - 60))
    return open_source(folder / "in.webp", VideoOptions())[0]


@pytest.mark.parametrize("build", [broken_video, mixed_folder, mixed_arrays, broken_animation, lambda f: open_source(
    f / "none.mkv", VideoOptions())[0]], ids=["video", "folder", "arrays", "animation", "nothing"])  # fmt: skip
def test_what_cannot_be_read_is_a_typed_error_of_one_line(build, tmp_path):
    with pytest.raises(OseDiffError) as caught:
        list(build(tmp_path).frames())
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 20
    assert isinstance(caught.value, MediaError)
