"""Numbered frames, as FFmpeg names them, go in and come out: names, depth, order, resumption and refusals."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from osediff_video.suffixes import frame_name, is_pattern, matcher, split_pattern
from tests.commands.test_cli import ROOT, run
from tests.support.media_files import sample_image, write_video

OFF = VideoOptions(temporal="off", cuts="off", fps=Fraction(6))  # segments of 24 frames


def write_frames(folder, names, numbers, dtype=np.uint8):
    folder.mkdir()
    for number in numbers:
        write_image(folder / frame_name(names, number), ImageFile(sample_image(number, 16, 24, dtype)))
    return folder / names


def made(source, target, **settings):
    return upscale_video(source, target, PlainResize(), Encoding(), OFF, **settings)


def test_names_are_those_of_printf(tmp_path):
    assert [frame_name("a%03d.png", n) for n in (7, 1234)] == ["a007.png", "a1234.png"]
    assert frame_name("%d_100%%.tif", 5) == "5_100%.tif"
    assert matcher("a%03d.png").fullmatch("a1234.png")[1] == "1234" and not matcher("a%03d.png").fullmatch("a07.png")
    assert not matcher("a.%03d.png").fullmatch("ax001.png")
    assert split_pattern(tmp_path / "%06d.png") == (tmp_path, "%06d.png")
    for name in ("100%.png", "50%d.mp4", "%06d", "%03d_%03d.png", "a.png"):
        assert not is_pattern(tmp_path / name), name
    (tmp_path / "%02d.png").touch()
    assert not is_pattern(tmp_path / "%02d.png")  # a file of this very name is that file


@pytest.mark.parametrize(("suffix", "dtype"), [
    (".png", np.uint16), (".tif", np.uint16), (".tiff", np.uint8), (".jpg", np.uint8), (".webp", np.uint8),
])  # fmt: skip
def test_frames_go_in_and_come_out_under_their_pattern(tmp_path, suffix, dtype):
    source = write_frames(tmp_path / "in", "f%04d.png", [8, 9, 10, 11], dtype)
    (tmp_path / "in" / "poster.png").write_bytes(b"not a frame of the pattern")
    assert made(source, tmp_path / "out" / f"%03d{suffix}").frames == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:03d}{suffix}" for n in (1, 2, 3, 4)]
    for number in range(4):
        image = read_image(tmp_path / "out" / f"{number + 1:03d}{suffix}").image
        expected = read_image(tmp_path / "in" / frame_name("f%04d.png", number + 8)).image
        assert image.dtype == dtype
        error = np.abs(image.astype(float) - expected).mean()  # at scale 1 nothing but the format changes them
        assert error == 0 if suffix in (".png", ".tif") else error < 6


def test_a_format_that_holds_less_is_said(tmp_path):
    source = write_frames(tmp_path / "in", "%d.png", range(3), np.uint16)
    result = made(source, tmp_path / "out" / "%d.jpg")
    assert any("16 bits become 8, .jpg holds no more" in note for note in result.notes)
    with pytest.raises(OutputError, match=r"frames cannot be written as \.bmp"):
        made(source, tmp_path / "other" / "%d.bmp")


def test_a_video_becomes_numbered_frames_and_the_same_command_knows_them(tmp_path):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(5)], size=(16, 24))
    target = tmp_path / "out" / "%06d.png"
    (tmp_path / "out").mkdir()  # as FFmpeg expects it
    words = ["upscale", source, "-o", target, "--temporal", "off"]
    run(*words)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert sorted(before) == [f"{n:06d}.png" for n in range(1, 6)]
    run(*words)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert "already exists" in run(*words, "--scale", 2, code=1)
    run(*words, "--scale", 2, "--overwrite")
    assert Image.open(tmp_path / "out" / "000001.png").size == (48, 32)
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "holds thesis.txt" in run(*words, "--overwrite", code=1)


def test_the_folder_of_the_source_and_odd_names_are_refused(tmp_path):
    source = write_frames(tmp_path / "in", "%04d.png", range(1, 4))
    for target in (tmp_path / "in" / "out%04d.png", tmp_path / "in" / "x" / "%04d.png"):
        assert "never touched" in run("upscale", source, "-o", target, "--overwrite", code=1)
    assert "no frames of this pattern" in run("upscale", tmp_path / "in" / "%05d.tif", "-o", tmp_path / "o", code=1)
    assert "no ending such as .mp4" in run("upscale", source, "-o", tmp_path / "o.mp4" / "%d.png", code=1)
    assert "several sources need a folder" in run("upscale", source, source, "-o", tmp_path / "o" / "%d.png", code=2)
    (tmp_path / "cinema").mkdir()
    (tmp_path / "cinema" / "a.0001.exr").touch()
    assert "convert them to 16-bit PNG first" in run("upscale", tmp_path / "cinema", code=2)
    assert "convert them to 16-bit PNG first" in run("upscale", tmp_path / "cinema" / "a.%04d.exr", code=1)


def test_a_pattern_without_output_goes_beside_its_folder(tmp_path):
    source = write_frames(tmp_path / "in", "%04d.png", [1, 2, 4])
    output = run("upscale", source, "--scale", 2)
    assert len(list((tmp_path / "in_x2").iterdir())) == 3 and "1 numbers are missing" in output


def test_a_tree_of_folders_of_frames_is_mirrored(tmp_path):
    (tmp_path / "reel" / "b").mkdir(parents=True)
    write_frames(tmp_path / "reel" / "shot1", "%04d.png", range(2))
    write_frames(tmp_path / "reel" / "b" / "shot2", "%04d.png", range(3))
    run("upscale", tmp_path / "reel", "-o", tmp_path / "out", "--scale", 2)
    counts = {path.relative_to(tmp_path / "out").as_posix(): len(list(path.iterdir()))
              for path in (tmp_path / "out").rglob("*_x2")}  # fmt: skip
    assert counts == {"shot1_x2": 2, "b/shot2_x2": 3}


def test_frames_resume_where_they_were_stopped(tmp_path):
    source = write_frames(tmp_path / "in", "%04d.png", range(60))
    target = tmp_path / "out" / "%04d.tif"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom tests.video.test_numbered_frames import made\n"
        "def stop(progress):\n    if progress.frames == 40:\n        os._exit(9)\n"
        "made(Path(sys.argv[1]), Path(sys.argv[2]), progress=stop)\n"
    )
    stopped = subprocess.run([sys.executable, "-c", script, str(source), str(target)], cwd=ROOT, check=False)
    assert stopped.returncode == 9 and not (tmp_path / "out").exists()
    result = made(source, target)
    assert result.resumed == 24 and result.frames == 60
    made(source, tmp_path / "whole" / "%04d.tif")
    for path in sorted((tmp_path / "whole").iterdir()):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
