"""Who owns the target: sources, links and foreign files are never touched, by any way into the program."""

import os

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import cli
from image_core.errors import ImageError, MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from osediff_video.target import check_image_target, check_target, put_in_place
from tests.support.media_files import sample_image, write_video

OFF = VideoOptions(temporal="off")
TIMES = [512 * n for n in range(5)]


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "out" / "frames"
    folder.mkdir(parents=True)
    for number in range(3):
        write_image(folder / f"{number}.png", ImageFile(sample_image(number, 16, 24)))
    return folder


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_holds_a_source_or_lies_in_one_is_refused(frames, overwrite):
    before = tree(frames.parent)
    for target in (frames, frames.parent, frames / "inner", frames / ".." / "frames"):
        with pytest.raises(OutputError, match="never touched"):
            upscale_video(frames, target, PlainResize(2.0), Encoding(), OFF, overwrite=overwrite)
    assert tree(frames.parent) == before


def test_the_command_keeps_the_folder_that_holds_its_source(frames):
    before = tree(frames.parent)
    words = ["upscale", str(frames), "-o", str(frames.parent), "--overwrite", "--scale", "1"]
    outcome = CliRunner().invoke(cli, words)
    assert outcome.exit_code == 1 and "never touched" in outcome.output
    assert tree(frames.parent) == before


def test_a_folder_with_foreign_files_is_refused_also_with_overwrite(frames, tmp_path):
    target = tmp_path / "result"
    target.mkdir()
    (target / "thesis.doc").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.doc"):
        upscale_video(frames, target, PlainResize(2.0), Encoding(), OFF, overwrite=True)
    assert (target / "thesis.doc").read_text() == "years of work"


def test_a_folder_of_our_frames_is_replaced_only_when_asked(frames, tmp_path):
    target = tmp_path / "result"
    upscale_video(frames, target, PlainResize(2.0), Encoding(), OFF)
    with pytest.raises(OutputError, match="--overwrite"):
        upscale_video(frames, target, PlainResize(1.0), Encoding(), OFF)
    (frames / "2.png").unlink()
    upscale_video(frames, target, PlainResize(1.0), Encoding(), OFF, overwrite=True)
    assert sorted(p.name for p in target.iterdir()) == ["frame_00000001.png", "frame_00000002.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "result"]  # nothing of the old one lies about


def test_what_appears_meanwhile_is_not_replaced(tmp_path, frames):
    source = write_video(tmp_path / "in.mp4", TIMES)
    for origin, name in ((source, "out.mkv"), (frames, "folder")):
        target = tmp_path / name

        def appear(_, target=target):
            if target.suffix:
                target.write_text("theirs")
            else:
                target.mkdir(exist_ok=True)
                (target / "important.txt").write_text("theirs")

        with pytest.raises(OutputError, match=r"already exists|appeared|did not write"):
            upscale_video(origin, target, PlainResize(1.0), Encoding(preset="ultrafast"), OFF, progress=appear)
        assert (target if target.suffix else target / "important.txt").read_text() == "theirs"


@pytest.mark.parametrize("points", ["somewhere", "nowhere"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_link_is_never_written_through(tmp_path, points, overwrite):
    source = write_video(tmp_path / "in.mp4", TIMES)
    (tmp_path / "somewhere").write_text("theirs")
    link = tmp_path / "out.mp4"
    link.symlink_to(tmp_path / points)
    with pytest.raises(OutputError, match="link"):
        check_target(source, link, overwrite)
    part = tmp_path / "part.mp4"
    part.write_text("result")
    with pytest.raises(OutputError, match="link"):
        put_in_place(part, link, overwrite)
    assert (tmp_path / "somewhere").read_text() == "theirs" and not (tmp_path / "nowhere").exists()


def test_a_hard_link_to_the_source_is_the_source(tmp_path):
    source = write_video(tmp_path / "in.mp4", TIMES)
    os.link(source, tmp_path / "same.mp4")
    with pytest.raises(OutputError, match="the source itself"):
        check_target(source, tmp_path / "same.mp4", overwrite=True)


def test_without_hard_links_nothing_is_replaced_either(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no hard links here")

    monkeypatch.setattr("osediff_video.target.os.link", refuse)
    part, target = tmp_path / "part", tmp_path / "result.mp4"
    part.write_text("ours")
    put_in_place(part, target, overwrite=False)
    assert target.read_text() == "ours" and not part.exists()
    part.write_text("ours again")
    with pytest.raises(OutputError, match="--overwrite"):
        put_in_place(part, target, overwrite=False)
    assert target.read_text() == "ours" and part.exists()


@pytest.mark.parametrize("first", [True, False])
def test_compare_keeps_both_of_its_sources(tmp_path, first):
    one, two = (write_video(tmp_path / f"{name}.mp4", TIMES) for name in "ab")
    before = tree(tmp_path)
    words = ["compare", str(one), str(two), "-o", str(one if first else two), "--overwrite"]
    outcome = CliRunner().invoke(cli, words)
    assert outcome.exit_code == 1 and "the source itself" in outcome.output
    assert tree(tmp_path) == before


def test_images_have_the_same_owner(tmp_path):
    source = tmp_path / "in.png"
    write_image(source, ImageFile(sample_image(0, 8, 8)))
    with pytest.raises(OutputError, match="--overwrite"):
        write_image(source, ImageFile(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(OutputError, match="the source itself"):
        check_image_target(source, source, overwrite=True)
    with pytest.raises(ImageError, match="no such file"):
        check_image_target(tmp_path / "none.png", tmp_path / "out.png", overwrite=False)
    with pytest.raises(OutputError, match="folder"):
        check_image_target(source, tmp_path, overwrite=True)
    with pytest.raises(MediaError, match="no such file"):
        check_target(tmp_path / "none.mp4", tmp_path / "out.mp4", overwrite=False)
