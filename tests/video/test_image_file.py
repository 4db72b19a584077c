"""Image files: every kind in, upright, with depth, transparency, colour profile and EXIF."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from image_core.errors import ImageError, OutputError
from image_core.images import to_eight_bit
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.images.metadata import ORIENTATION
from tests.support.media_files import sample_image

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


EVERY_MODE = ("RGB", "L", "P", "1", "CMYK", "RGBA", "LA", "I;16")
UNWRITTEN = {".png": {"CMYK"}, ".jpg": {"P", "RGBA", "LA", "I;16"}, ".bmp": {"CMYK", "LA", "I;16"}}
"""What PIL cannot write."""


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (suffix, mode)
        for suffix in (".png", ".tif", ".webp", ".jpg", ".bmp", ".avif")
        for mode in EVERY_MODE
        if mode not in UNWRITTEN.get(suffix, ())
    ],
)
def test_every_kind_is_read_as_pil_means_it(tmp_path, suffix, mode):
    created = Image.fromarray(sample_image(3, 24, 36)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        created = Image.fromarray(sample_image(3, 24, 36)[..., 0].astype(np.uint16) * 257)
    path = tmp_path / f"in{suffix}"
    created.save(path, lossless=True)
    actual = read_image(path)
    with Image.open(path) as expected:
        if expected.mode.startswith("I;16"):
            assert np.array_equal(actual.image[..., 0], np.asarray(expected))
            return
        assert np.array_equal(actual.image, np.asarray(expected.convert("RGBA"))[..., :3])
        assert (actual.alpha is not None) == expected.has_transparency_data


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_is_applied_and_taken_out(tmp_path, turn, deep):
    plain = sample_image(3, 24, 36)
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = turn, "a title"
    path = tmp_path / "in.png"
    if deep:
        code = cv2.imencodeWithMetadata(
            ".png",
            plain[..., ::-1].astype(np.uint16) * 257,
            [cv2.IMAGE_METADATA_EXIF],
            [np.frombuffer(exif.tobytes()[6:], np.uint8)],
        )[1]
        path.write_bytes(code.tobytes())
    else:
        Image.fromarray(plain).save(path, exif=exif)
    tagged = Image.fromarray(plain)
    tagged.getexif()[ORIENTATION] = turn
    upright = np.asarray(ImageOps.exif_transpose(tagged))
    actual = read_image(path)
    assert actual.image.dtype == (np.uint16 if deep else np.uint8)
    assert np.array_equal(to_eight_bit(actual.image) if deep else actual.image, upright)
    write_image(tmp_path / "out.png", actual)
    with Image.open(tmp_path / "out.png") as again:
        remaining = dict(again.getexif())
    assert remaining[0x010E] == "a title" and ORIENTATION not in remaining


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_the_colour_profile_stays(tmp_path, suffix):
    write_image(tmp_path / f"out{suffix}", ImageFile(sample_image(0), icc=PROFILE))
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.info["icc_profile"] == PROFILE


def test_sixteen_bits_with_transparency_and_profile(tmp_path):
    deep = ImageFile(sample_image(0, dtype=np.uint16), sample_image(1, dtype=np.uint16)[..., 0], PROFILE)
    for suffix in (".png", ".tif"):
        write_image(tmp_path / f"out{suffix}", deep)
        again = read_image(tmp_path / f"out{suffix}")
        assert np.array_equal(again.image, deep.image) and np.array_equal(again.alpha, deep.alpha)
        assert again.icc == PROFILE
    with pytest.raises(OutputError, match=r"needs one of \.png"):
        write_image(tmp_path / "out.webp", deep)


def test_what_a_format_cannot_hold_is_said():
    deep = ImageFile(sample_image(0, dtype=np.uint16), sample_image(1, dtype=np.uint16)[..., 0])
    result, lost = deep.fitted(".jpg")
    assert result.image.dtype == np.uint8 and result.alpha is None and len(lost) == 2
    assert np.array_equal(result.image, sample_image(0))
    assert deep.fitted(".png") == (deep, [])


def test_transparency_grows_with_the_image():
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    grown = ImageFile(sample_image(0), alpha).enlarged(sample_image(0, 96, 128))
    assert grown.alpha.shape == (96, 128) and grown.alpha[0, 0] == 0 and grown.alpha[0, -1] == 255


def test_an_unreadable_image_names_itself(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    for name in ("bad.png", "missing.png"):
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)


def test_sixteen_bits_become_eight_rounded_to_nearest():
    codes = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_eight_bit(codes), np.rint(codes / 257))
