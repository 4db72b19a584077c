"""Depths, colour spaces, metadata and transparent edges of image files: right, or refused in one line."""

import io
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from image_core.errors import ImageError, OutputError
from osediff_video.images import png, profiles
from osediff_video.images.edges import extend_colors
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.images.matrix_profile import to_srgb_by_matrix
from osediff_video.images.tiff import encode
from osediff_video.metrics.table import score_folders
from osediff_video.sources.animation import AnimationSource
from osediff_video.target import check_image_target, check_target
from tests.support.media_files import sample_image

DEEP = np.random.default_rng(0).integers(0, 65536, (9, 7, 4), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def tiff(pixels, photometric=1, bits=16, sample_format=1, **tags):
    """A plain TIFF as other programs write it. pixels: (H, W) or (H, W, C)."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    made = ImageFileDirectory_v2(prefix=b"II")
    data = pixels.tobytes()
    made[256], made[257], made[258] = pixels.shape[1], pixels.shape[0], (bits,) * channels
    made[259], made[262], made[277], made[278], made[279] = 1, photometric, channels, pixels.shape[0], len(data)
    made[339], made[284] = (sample_format,) * channels, 1
    made[273], made.tagtype[273] = 0, 4
    for tag, value in tags.items():
        made[int(tag[1:])] = value
    return b"II*\0\x08\0\0\0" + made.tobytes(8) + data


def simple_profile(kind, gamma=2.2, primaries=None):
    """An ICC profile of version 2 made of curves, and of a matrix for RGB."""
    curve = b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
    xyz = [b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in column)) for column in primaries or ()]
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = {b"desc": text, b"wtpt": white, b"cprt": b"text" + bytes(4) + b"x\0\0\0"}
    if kind == b"GRAY":
        tags[b"kTRC"] = curve
    for name, column in zip((b"r", b"g", b"b"), xyz, strict=False):
        tags[name + b"XYZ"], tags[name + b"TRC"] = column, curve
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s12x4s", offset + len(body), 0x02100000, b"mntr", kind, b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


ADOBE = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
"""Columns of Adobe RGB (1998) under D50."""


def read(folder, name, data):
    (folder / name).write_bytes(data)
    return read_image(folder / name)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("channels", "grey"), [(1, True), (2, True), (3, False), (4, False)])
def test_sixteen_bits_come_back_in_as_many_channels(tmp_path, suffix, channels, grey):
    alpha = DEEP[..., 3] if channels in (2, 4) else None
    color = np.repeat(DEEP[..., :1], 3, axis=-1) if grey else DEEP[..., :3]
    icc = simple_profile(b"GRAY") if grey else SRGB
    metadata = read(tmp_path, "t.png", texted_png()).metadata
    written = ImageFile(np.ascontiguousarray(color), alpha, icc, is_grey=grey, metadata=metadata)
    if suffix == ".tif" and channels == 2:
        written, _ = written.fitted(suffix)
    write_image(tmp_path / f"x{suffix}", written)
    again = read_image(tmp_path / f"x{suffix}")
    assert np.array_equal(again.image, written.image) and again.is_grey == written.is_grey and again.icc == written.icc
    assert np.array_equal(again.alpha, alpha) if alpha is not None else again.alpha is None
    assert again.metadata.dpi == pytest.approx((300, 300), abs=0.01) and again.metadata.xmp == metadata.xmp


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff(DEEP[..., 0]), DEEP[..., 0]),
        (tiff(DEEP[..., 0], photometric=0), 65535 - DEEP[..., 0]),
        (tiff(DEEP[..., :3].copy(), photometric=2), DEEP[..., :3]),
        (tiff(DEEP, photometric=2, t338=2), DEEP[..., :3]),
        (tiff((DEEP[..., 0] / 65535).astype(np.float32), bits=32, sample_format=3), DEEP[..., 0]),
        (b"P5\n# note\n7 9\n65535\n" + DEEP[..., 0].astype(">u2").tobytes(), DEEP[..., 0]),
        (b"P6 7 9 65535\n" + DEEP[..., :3].astype(">u2").tobytes(), DEEP[..., :3]),
        (b"P5 7 9 1023\n" + (DEEP[..., 0] >> 6).astype(">u2").tobytes(),
         np.rint((DEEP[..., 0] >> 6).astype(float) * 65535 / 1023)),
        (png.encode_deep(DEEP[..., :3]), DEEP[..., :3]),
    ],
    ids=["grey", "white is zero", "RGB", "RGBA", "float", "PGM", "PPM", "10-bit PGM", "PNG"],
)  # fmt: skip
def test_deep_files_are_read_by_content_at_their_depth(tmp_path, data, expected):
    found = read(tmp_path, "misnamed.jpg", data)
    assert found.image.dtype == np.uint16
    assert np.array_equal(found.image[..., 0] if expected.ndim == 2 else found.image, expected)
    assert "16 bits become 8" in str(found.fitted(".jpg")[1])


@pytest.mark.parametrize(
    "data",
    [
        tiff(DEEP[..., 0].astype(np.int32), bits=32, sample_format=2),
        tiff(DEEP[..., 0].view(np.int16), sample_format=2),
        tiff(DEEP[..., 0].astype(np.float32), bits=32, sample_format=3),
        tiff(np.full((9, 7), np.nan, np.float32), bits=32, sample_format=3),
        tiff(DEEP, photometric=5),
        b"P6 7 9 65535\n" + bytes(9),
        b"",
        bytes(4) + b"ftypheic" + bytes(99),
    ],
    ids=["int32", "int16", "float beyond 1", "NaN", "16-bit CMYK", "cut off", "empty", "HEIC"],
)
def test_what_cannot_be_read_right_is_refused_in_one_line(tmp_path, data):
    with pytest.raises(ImageError) as refused:
        read(tmp_path, "x.tif", data)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


def test_a_heic_says_what_to_do(tmp_path):
    with pytest.raises(ImageError, match="heif-convert"):
        read(tmp_path, "x.heic", bytes(4) + b"ftypheic" + bytes(99))


@pytest.mark.parametrize(("data", "command"), [
    (b"v/1\x01" + bytes(99), "ffmpeg -apply_trc iec61966_2_1 -i IN.exr"), (b"SDPX" + bytes(99), "ffmpeg -i IN.dpx"),
])  # fmt: skip
def test_formats_of_the_cinema_say_what_to_do(tmp_path, data, command):
    with pytest.raises(ImageError, match=command):
        read(tmp_path, "x.png", data)


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path):
    data = bytearray(png.encode_deep(DEEP))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="checksum"):
        read(tmp_path, "x.png", bytes(data))


def texted_png():
    texts, made = PngImagePlugin.PngInfo(), io.BytesIO()
    texts.add_text("parameters", "a cat, 20 steps")
    texts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    Image.fromarray(sample_image(0)).save(made, "PNG", pnginfo=texts, dpi=(300, 300))
    return made.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_resolution_grows_and_texts_stay_or_are_named(tmp_path, suffix):
    source = read(tmp_path, "in.png", texted_png())
    result, lost = source.enlarged(sample_image(0, 96, 128)).fitted(suffix)
    write_image(tmp_path / f"out{suffix}", result)
    with Image.open(tmp_path / f"out{suffix}") as written:
        dpi = written.info.get("dpi") or (written.getexif()[282],) * 2
        xmp = written.info.get("xmp")
        texts = dict(getattr(written, "text", {}))
    assert float(dpi[0]) == pytest.approx(600, abs=1) and b"xmpmeta" in xmp
    assert texts.get("parameters") == "a cat, 20 steps" if suffix == ".png" else "parameters" in str(lost)


def test_exif_states_the_new_size_and_none_of_a_tiffs_structure(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769).update({0xA002: 64, 0xA003: 48, 0x9003: "2020:01:01 00:00:00"})
    made = encode(sample_image(0), exif=exif.tobytes())
    result = read(tmp_path, "in.tif", made).enlarged(sample_image(0, 96, 128))
    write_image(tmp_path / "out.jpg", result)
    with Image.open(tmp_path / "out.jpg") as written:
        kept = written.getexif()
        assert kept[0x010F] == "maker" and 273 not in kept and 256 not in kept
        assert kept.get_ifd(0x8769)[0xA002] == 128


def test_malformed_exif_is_left_out_and_said(tmp_path):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x03\0\0\0\x63\0\0\0\x40" + bytes(4)
    made = io.BytesIO()
    Image.fromarray(sample_image(0)).save(made, "JPEG", exif=exif)
    found = read(tmp_path, "in.jpg", made.getvalue())
    assert found.image.shape == (48, 64, 3)
    write_image(tmp_path / "out.png", found.enlarged(sample_image(0, 96, 128)))


def test_grey_stays_grey_with_its_profile_and_becomes_srgb_where_it_cannot(tmp_path):
    made = io.BytesIO()
    Image.fromarray(sample_image(0)).convert("L").save(made, "PNG", icc_profile=simple_profile(b"GRAY", 1.0))
    found = read(tmp_path, "in.png", made.getvalue())
    for suffix, mode in ((".png", "L"), (".jpg", "L"), (".tif", "L"), (".webp", "RGB")):
        result, _ = found.fitted(suffix)
        write_image(tmp_path / f"out{suffix}", result)
        with Image.open(tmp_path / f"out{suffix}") as written:
            assert written.mode == mode and ("icc_profile" in written.info) == (mode == "L")
    assert result.image.mean() > found.image.mean() + 20  # linear light, as sRGB encodes it


def test_lab_and_cmyk_become_srgb(tmp_path):
    colors = sample_image(0)
    lab = ImageCms.profileToProfile(
        Image.fromarray(colors), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    for name, made in (("lab.tif", lab), ("cmyk.tif", Image.fromarray(colors).convert("CMYK"))):
        made.save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert np.abs(found.image.astype(int) - colors).max() <= (12 if name == "lab.tif" else 1)
        assert found.alpha is None and found.icc is None and "becomes" in found.notes[0]


def test_adobe_rgb_is_kept_in_files_and_converted_where_none_can_be():
    icc = simple_profile(b"RGB ", 563 / 256, ADOBE)
    assert profiles.space_of(icc) == "RGB" and not profiles.is_srgb(icc) and profiles.is_srgb(SRGB)
    file = ImageFile(np.full((4, 4, 3), (120, 180, 60), np.uint8), icc=icc)
    assert file.fitted(".png")[0].icc == icc
    converted = file.in_srgb().image[0, 0].astype(int)
    assert converted[0] < 100 and abs(converted[1] - 180) <= 2
    deep = to_srgb_by_matrix(np.full((4, 4, 3), (120 * 257, 180 * 257, 60 * 257), np.uint16), icc)
    assert np.abs(deep[0, 0] / 257 - converted).max() <= 1


def test_colours_reach_under_transparent_edges_and_visible_ones_stay():
    y, x = np.mgrid[:48, :64]
    alpha = np.clip((16 - np.hypot(y - 24, x - 32)) * 128, 0, 255).astype(np.uint8)
    image = np.where(alpha[..., None] > 0, (200, 40, 30), (0, 0, 0)).astype(np.uint8)
    filled = extend_colors(image, alpha)
    assert np.array_equal(filled[alpha > 0], image[alpha > 0])
    assert np.abs(filled.astype(int) - (200, 40, 30)).max() <= 1
    assert extend_colors(image, np.zeros_like(alpha)) is image


def test_animations_and_pages_say_that_only_the_first_is_read(tmp_path):
    images = [Image.fromarray(sample_image(n)) for n in range(3)]
    for name in ("x.gif", "x.png", "x.webp", "x.tif"):
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:])
        assert "only the first of 3" in read_image(tmp_path / name).notes[0]


def test_transparency_lost_in_a_bitmap_is_said():
    _, lost = ImageFile(sample_image(0), sample_image(1)[..., 0]).fitted(".bmp")
    assert "transparency is lost" in lost[0]


@pytest.mark.parametrize("length", [249, 255])
def test_the_longest_names_are_written_and_longer_ones_refused(tmp_path, length):
    source = tmp_path / "in.png"
    source.write_bytes(texted_png())
    target = tmp_path / f"{'n' * (length - 4)}.png"
    check_image_target(source, target, False)
    write_image(target, ImageFile(sample_image(0)))
    assert read_image(target).image.shape == (48, 64, 3)
    with pytest.raises(OutputError, match="bytes"):
        check_image_target(source, tmp_path / f"{'n' * 253}.png", False)
    with pytest.raises(OutputError, match="bytes"):
        check_target(source, tmp_path / f"{'n' * 246}.mp4", False)


def test_results_are_paired_with_references_without_the_size_in_their_names(tmp_path):
    for name in (
        "ours/a_x4.png",
        "ours/b_1080p.png",
        "ours/c_x2.png",
        "theirs/a.png",
        "theirs/b.tif",
        "theirs/c_x2.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(sample_image(0)).save(tmp_path / name)
    table = score_folders(tmp_path / "ours", tmp_path / "theirs", {})
    assert set(table.images) == {"a_x4.png", "b_1080p.png", "c_x2.png"} and not table.unpaired
    Image.fromarray(sample_image(0)).save(tmp_path / "ours/a_x2.tif")
    with pytest.raises(ImageError, match=r"a_x2\.tif and a_x4\.png"):
        score_folders(tmp_path / "ours", tmp_path / "theirs", {})


def test_an_animated_webp_has_its_own_durations(tmp_path):
    images = [Image.fromarray(sample_image(n)) for n in range(3)]
    images[0].save(tmp_path / "x.webp", save_all=True, append_images=images[1:], duration=[40, 80, 120])
    source = AnimationSource(tmp_path / "x.webp")
    assert source.info.duration_s == pytest.approx(0.24) and source.info.frame_rate == Fraction(3000, 240)
    assert [frame.duration for frame in source.frames()] == [40, 80, 120]
