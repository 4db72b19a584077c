"""Folders of frames that are not alike or not whole: seen before work, then fitted, converted or refused."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from cli.jobs.sources import jobs
from image_core.errors import MediaError
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from osediff_video.sources.folder import FolderSource
from osediff_video.suffixes import ending
from tests.support.media_files import sample_image
from tests.video.test_image_kinds import ADOBE, simple_profile

FPS = Fraction(25)


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "frames"
    inner.mkdir()
    for number in range(5):
        Image.fromarray(sample_image(number)).save(inner / f"{number}.png")
    return inner


def images(source):
    return [frame.image for frame in source.frames()]


@pytest.mark.parametrize("damage", ["empty", "cut off", "no image"])
def test_a_frame_that_is_not_whole_is_named_before_work_or_stood_in_for(folder, damage):
    data = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes({"empty": b"", "cut off": data[: len(data) // 2], "no image": b"text"}[damage])
    with pytest.raises(MediaError, match=r"1 of 5 frames cannot be read: 3\.png .*--allow-damaged"):
        FolderSource(folder, FPS)
    source = FolderSource(folder, FPS, allow_damaged=True)
    found = images(source)
    assert len(found) == 5 and np.array_equal(found[3], sample_image(2)) and source.faults.repeated == [3]
    assert np.array_equal(next(source.frames(3)).image, sample_image(2))  # a job that goes on there sees the same


def test_damage_behind_the_header_is_counted_too_and_the_first_good_one_stands_in_at_the_start(folder):
    data = bytearray((folder / "0.png").read_bytes())
    data[len(data) // 2] ^= 255
    (folder / "0.png").write_bytes(data)
    source = FolderSource(folder, FPS, allow_damaged=True)
    assert np.array_equal(images(source)[0], sample_image(1)) and source.faults.repeated == [0]


def test_other_sizes_are_named_before_work_and_fitted_when_a_size_is_asked_for(folder):
    Image.fromarray(sample_image(3, 24, 64)).save(folder / "3.png")
    with pytest.raises(MediaError, match=r"3\.png \(64 x 24\).*--size"):
        FolderSource(folder, FPS)
    source = FolderSource(folder, FPS, mixed_sizes=True)
    fitted = images(source)[3]
    assert fitted.shape == (48, 64, 3) and np.array_equal(fitted[12:36], sample_image(3, 24, 64))
    assert not fitted[:12].any() and "1 frames are fitted" in source.notes[0]


def test_depths_are_joined_and_transparency_that_begins_later_is_kept(folder):
    deep = ImageFile(sample_image(3, dtype=np.uint16), sample_image(1, dtype=np.uint16)[..., 0])
    write_image(folder / "3.png", deep, overwrite=True)
    source = FolderSource(folder, FPS)
    frames = list(source.frames())
    assert source.info.bit_depth == 16 and source.info.alpha and "become 16" in source.notes[0]
    assert np.array_equal(frames[3].image, deep.image) and np.array_equal(frames[3].alpha, deep.alpha)
    assert np.array_equal(frames[0].image, sample_image(0).astype(np.uint16) * 257) and (frames[0].alpha == 65535).all()


def test_frames_are_converted_through_their_profiles(folder):
    icc = simple_profile(b"RGB ", 563 / 256, ADOBE)
    file = ImageFile(np.full((48, 64, 3), (120, 180, 60), np.uint8), icc=icc)
    write_image(folder / "3.png", file, overwrite=True)
    source = FolderSource(folder, FPS)
    assert "sRGB" in source.notes[0] and np.array_equal(images(source)[3], file.in_srgb().image)
    assert images(source)[3][0, 0, 0] < 100


@pytest.mark.parametrize("suffix", [".tga", ".ppm", ".jpg", ".tif", ".bmp"])
def test_what_pillow_reads_is_a_frame(folder, suffix):
    for path in list(folder.iterdir()):
        Image.open(path).save(path.with_suffix(suffix), quality=100)
        path.unlink()
    assert len(images(FolderSource(folder, FPS))) == 5


def test_a_kind_that_is_not_read_is_named(tmp_path):
    (tmp_path / "1.dpx").write_bytes(b"SDPX")
    with pytest.raises(MediaError, match=r"\.dpx"):
        FolderSource(tmp_path, FPS)


def test_folders_of_frames_inside_a_folder_are_mirrored(tmp_path):
    for name in ("show/one", "show/deep/two", "show/empty", "show/.hidden"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("show/one/1.png", "show/deep/two/1.tga", "show/.hidden/1.png"):
        Image.fromarray(sample_image(0)).save(tmp_path / name)
    found = jobs((tmp_path / "show",), tmp_path / "out", "x4")
    assert [(str(a.relative_to(tmp_path)), str(b.relative_to(tmp_path))) for a, b in found] == [
        ("show/deep/two", "out/deep/two_x4"),
        ("show/one", "out/one_x4"),
    ]


def test_a_folder_named_by_a_scale_with_a_fraction_is_a_folder(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(sample_image(number, 16, 24)).save(folder / f"{number}.png")
    assert ending(tmp_path / "frames_x1.5") == "" and ending(tmp_path / "a.MP4") == ".mp4"
    upscale_video(folder, tmp_path / "frames_x1.5", PlainResize(1.5), Encoding(), VideoOptions())
    assert [path.suffix for path in (tmp_path / "frames_x1.5").iterdir()] == [".png"] * 3
