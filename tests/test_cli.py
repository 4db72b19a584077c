"""What the user types, in a real second process or through click, and what comes of it."""

import os
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import COMMANDS, cli
from osediff_video.media.probe import probe
from tests.media_files import packets, picture, read, read_times, write_film

ROOT = Path(__file__).parent.parent


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, [str(word) for word in words])
    assert outcome.exit_code == code, outcome.output
    assert "Traceback" not in outcome.output
    return outcome.output


@pytest.fixture
def film(tmp_path):
    return write_film(tmp_path / "film.mp4", [512 * n for n in range(7)], sound_from=Fraction(0), size=(16, 24))


def test_help_is_instant():
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    modules = (
        "import sys, cli.main, cli.upscale, cli.image; print([m for m in ('torch', 'av', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", modules], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
    assert time.monotonic() - started < 5  # two interpreters; the limit only catches a heavy import


def test_every_command_explains_itself_and_stands_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert "Usage:" in run(command, "--help")
        assert re.search(rf"osediff(-video)? {command}\b", readme), f"README does not show {command}"


def test_the_commands_of_the_readme_are_understood():
    for line in re.findall(r"^ *(?:osediff|osediff-video) (.+?)(?:#.*)?$", (ROOT / "README.md").read_text(), re.M):
        name, *words = line.replace("'", "").split()
        command = cli.get_command(None, name)
        if name == "models":
            name, *words = words
            command = command.get_command(None, name)
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in known, f"{line}: {word}"


def test_a_film_becomes_four_times_larger_with_its_sound(film):
    output = run("upscale", film)
    target = film.with_name("film_x4.mp4")
    facts = probe(target)
    assert (facts.width, facts.height) == (96, 64) and "model: lite" in output and "verified: 7 of 7" in output
    assert [frame.pts for frame in read(target)] == [512 * n for n in range(7)]
    assert [data for _, data in packets(film, "audio")] == [data for _, data in packets(target, "audio")]


def test_an_existing_result_is_kept_unless_asked(film):
    target = film.with_name("film_x4.mp4")
    target.write_bytes(b"mine")
    assert "--overwrite" in run("upscale", film, code=1)
    assert target.read_bytes() == b"mine"
    run("upscale", film, "--overwrite", "--scale", "4")
    assert target.stat().st_size > 100


def test_frames_in_frames_out_and_frames_to_film(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(picture(number, 17, 23)).save(frames / f"shot{number}.png")
    run("upscale", frames, "--scale", "2")
    written = sorted((tmp_path / "frames_x2").iterdir())
    assert len(written) == 3 and Image.open(written[0]).size == (46, 34)
    run("upscale", frames, "-o", tmp_path / "film.mkv", "--fps", "24000/1001", "--scale", "1")
    facts = probe(tmp_path / "film.mkv")
    assert (facts.width, facts.height) == (23, 17)
    assert np.allclose(
        [float(time) for time in read_times(tmp_path / "film.mkv")], [0, 1001 / 24000, 2002 / 24000], atol=5e-4
    )


def test_several_films_go_into_a_folder_and_a_bad_one_does_not_stop_the_rest(film, tmp_path):
    bad, out = tmp_path / "bad.mp4", tmp_path / "out"
    bad.write_text("no film")
    out.mkdir()
    output = run("upscale", bad, film, "-o", out, code=1)
    assert "bad.mp4" in output and [path.name for path in out.iterdir()] == ["film_x4.mp4"]


def test_pictures_folders_and_patterns(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(picture(3, 15, 22)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    out.mkdir()
    run("image", tmp_path / "a.png")
    assert Image.open(tmp_path / "a_x4.png").size == (88, 60)
    run("image", f"{tmp_path}/?.png", "-o", out, "--scale", "2")
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.png", "b_x2.png"]
    run("image", tmp_path / "a.png", "-o", tmp_path / "c.jpg", "--tile", "128")
    assert Image.open(tmp_path / "c.jpg").size == (88, 60)


def test_probe_models_and_verify(film):
    assert "24 x 16" in run("probe", film)
    assert "lite" in run("models", "list") and "as they were written" in run("models", "verify", "lite")


def test_models_import(tiny_base, tiny_weights, tmp_path):
    out = tmp_path / "bundle"
    run(
        "models", "import", "--base", tiny_base, "--weights", tiny_weights, "--out", out, "--merge", "--prompt", "a cat"
    )
    Image.fromarray(picture(0, 16, 16)).save(tmp_path / "in.png")
    run("image", tmp_path / "in.png", "--model", out, "--prompt", "a cat", "--color-fix", "wavelet")
    assert Image.open(tmp_path / "in_x4.png").size == (64, 64)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["upscale", "missing.mp4"], 1, "no such file"),
        (["upscale", "FILM", "--scale", "9"], 2, "scale"),
        (["upscale", "FILM", "--scale", "0.5"], 2, "scale"),
        (["upscale", "FILM", "--model", "no-such"], 1, "no model 'no-such'"),
        (["upscale", "FILM", "--prompt", "a cat"], 1, "reads no prompts"),
        (["upscale", "FILM", "-o", "FILM"], 1, "source itself"),
        (["upscale", "FILM", "-o", "nowhere/out.mp4"], 1, "no such folder"),
        (["upscale", "FILM", "-o", "out.avi"], 1, "cannot write .avi"),
        (["upscale", "FILM", "--codec", "no-such"], 1, "no-such"),
        (["upscale", "FILM", "--tile", "130"], 2, "tile"),
        (["upscale", "FILM", "--fps", "fast"], 2, "expected a rate"),
        (["upscale", "FILM", "--encoder-option", "x"], 2, "key=value"),
        (["upscale", "FILM", "FILM", "-o", "out.mp4"], 2, "folder as output"),
        (["upscale", "FILM", "--device", "cuda:77"], 1, "cuda:77"),
        (["upscale", "EMPTY"], 1, "0 bytes"),
        (["upscale", "EMPTYDIR"], 1, "no frames"),
        (["image", "missing.png"], 1, "no such file"),
        (["image", "EMPTY"], 1, "not a readable picture"),
        (["image", "FILM"], 1, "not a readable picture"),
        (["image", "EMPTYDIR"], 2, "no pictures here"),
        (["probe", "EMPTY"], 1, "0 bytes"),
        (["models", "verify", "EMPTYDIR"], 1, "no bundle.json"),
        (["models", "import", "--base", "EMPTYDIR", "--weights", "FILM", "--out", "bundle"], 1, "missing"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(film, tmp_path, monkeypatch, words, code, message):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    names = {"FILM": film, "EMPTY": tmp_path / "empty.mp4", "EMPTYDIR": tmp_path / "folder"}
    output = run(*(names.get(word, word) for word in words), code=code)
    assert message in output
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(film, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "not writable" in run("upscale", film, "-o", locked / "out.mp4", code=1)
