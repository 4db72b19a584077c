"""The public API: lazy, typed, and as careful as the command."""

import subprocess
import sys

import numpy as np
import pytest

import osediff_video
from osediff_video import (
    Encoding,
    ImageError,
    MediaError,
    ModelNotFoundError,
    OseDiffError,
    OutputError,
    UpscaleOptions,
    VideoOptions,
    load_upscaler,
    upscale,
    upscale_frames,
    upscale_image,
)
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.plain_resize import PlainResize
from tests.support.media_files import read_times, sample_image, write_video

TIMES = [512 * n for n in range(5)]


@pytest.fixture(scope="module")
def lite():
    return load_upscaler("lite", UpscaleOptions(scale=2), device="cpu", precision="fp32")


def test_importing_loads_nothing_heavy():
    code = "import sys, osediff_video; print({'torch', 'av', 'cv2', 'numpy', 'PIL'} & set(sys.modules))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "set()"


def test_every_public_name_is_there_and_nothing_else_is():
    assert all(getattr(osediff_video, name) is not None for name in osediff_video.__all__)
    assert sorted(osediff_video.__all__) == osediff_video.__all__ and set(osediff_video.__all__) <= set(
        dir(osediff_video)
    )
    with pytest.raises(AttributeError, match="upscayl"):
        _ = osediff_video.upscayl


@pytest.mark.slow
def test_functions_stay_functions_whatever_was_imported_before():
    code = "import osediff_video.run, osediff_video.api; from osediff_video import upscale; print(callable(upscale))"
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "True"


def test_a_video_by_str_beside_its_source(tmp_path, lite):
    source = write_video(tmp_path / "in.mp4", TIMES)
    seen = []
    result = upscale(str(source), model=lite, encoding=Encoding(preset="ultrafast"), progress=seen.append)
    assert result.target == (tmp_path / "in_x2.mp4").resolve() and result.verification.ok
    assert result.frames == seen[-1].frames == len(read_times(source))


def test_an_array_gives_an_array_and_a_file_a_file(tmp_path, lite):
    for dtype in (np.uint8, np.uint16):
        image = sample_image(0, 16, 24, dtype)
        result = upscale_image(image, model=lite)
        assert result.shape == (32, 48, 3) and result.dtype == dtype
    write_image(tmp_path / "in.png", ImageFile(sample_image(0, 16, 24)))
    target = upscale_image(str(tmp_path / "in.png"), model=lite)
    assert target == tmp_path / "in_x2.png"
    assert np.array_equal(read_image(target).image, upscale_image(sample_image(0, 16, 24), model=lite))


def test_frames_come_as_a_video_would(tmp_path, lite):
    images = [sample_image(n, 24, 32) for n in range(12)]
    results = upscale_frames(iter(images), model=lite)
    first = next(results)
    assert first.shape == (48, 64, 3)
    results = [first, *results]
    (tmp_path / "frames").mkdir()
    for number, image in enumerate(images):
        write_image(tmp_path / "frames" / f"{number:02d}.png", ImageFile(image))
    upscale(tmp_path / "frames", tmp_path / "out", model=lite)
    written = [read_image(path).image for path in sorted((tmp_path / "out").iterdir())]
    assert len(results) == 12 and all(np.array_equal(a, b) for a, b in zip(results, written, strict=True))


def test_wrong_types_are_named(tmp_path):
    for call, name in (
        (lambda: upscale(5), "source"),
        (lambda: upscale(""), "source"),
        (lambda: upscale("in.mp4", 5), "target"),
        (lambda: upscale("in.mp4", scale="2"), "scale"),
        (lambda: upscale("in.mp4", model=None), "model"),
        (lambda: upscale("in.mp4", options=VideoOptions()), "options"),
        (lambda: upscale("in.mp4", video={}), "video"),
        (lambda: upscale("in.mp4", encoding="x264"), "encoding"),
        (lambda: upscale_image(np.zeros((8, 8, 3), np.uint8), tmp_path / "out.png"), "target"),
    ):
        with pytest.raises(TypeError, match=name):
            call()
    with pytest.raises(ValueError, match="scale must be"):
        upscale("in.mp4", scale=float("nan"))


def test_the_library_refuses_what_the_command_refuses(tmp_path, lite):
    source = write_video(tmp_path / "in.mp4", TIMES)
    write_image(tmp_path / "in.png", ImageFile(sample_image(0, 16, 24)))
    (tmp_path / "there.mp4").write_text("theirs")
    for error, call in (
        (MediaError, lambda: upscale(tmp_path / "none.mp4", model=lite)),
        (OutputError, lambda: upscale(source, source, model=lite, overwrite=True)),
        (OutputError, lambda: upscale(source, tmp_path / "there.mp4", model=lite)),
        (OutputError, lambda: upscale(source, tmp_path / "out.xyz", model=lite)),
        (OutputError, lambda: upscale(source, tmp_path / "out.mp4", model=lite, encoding=Encoding("nonsense"))),
        (ModelNotFoundError, lambda: upscale(source, model="nonsense")),
        (ModelNotFoundError, lambda: upscale(source, model="lite", device="nonsense")),
        (ValueError, lambda: upscale(source, model="lite", precision="fp8")),
        (ValueError, lambda: upscale(source, model=lite, options=UpscaleOptions())),
        (ImageError, lambda: upscale_image(tmp_path / "none.png", model=lite)),
        (OutputError, lambda: upscale_image(tmp_path / "in.png", tmp_path / "in.png", model=lite, overwrite=True)),
        (OutputError, lambda: upscale_image(tmp_path / "in.png", tmp_path / "out", model=lite)),
        (MediaError, lambda: upscale_image(np.zeros((8, 8)), model=lite)),
        (MediaError, lambda: upscale_frames([], model=lite)),
    ):
        with pytest.raises(error) as caught:
            call()
        assert "\n" not in str(caught.value) and issubclass(error, OseDiffError | ValueError)
    assert (tmp_path / "there.mp4").read_text() == "theirs" and not (tmp_path / "out.mp4").exists()


def test_a_frame_unlike_the_first_is_named():
    frames = [sample_image(0, 16, 24), sample_image(1, 16, 24), sample_image(2, 16, 32)]
    with pytest.raises(MediaError, match="frame 2: is 32 x 16"):
        list(upscale_frames(frames, model=PlainResize(2.0), video=VideoOptions(temporal="off")))
