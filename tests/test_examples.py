"""Every example runs as its first line says, in a process of its own."""

import os
import signal
import subprocess
import sys
import urllib.request
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osediff_video.media.probe import probe
from tests.support.media_files import sample_image, write_video

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def run(name, *words):
    command = [sys.executable, f"examples/{name}.py", *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mp4", [512 * n for n in range(30)], sound_from=Fraction(0), size=(16, 24))


def test_every_example_is_run_here():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {
        "image", "video", "frames", "shots", "space",
    }  # fmt: skip


def test_image(tmp_path):
    Image.fromarray(sample_image(0, 16, 24)).save(tmp_path / "in.png")
    run("image", tmp_path / "in.png", tmp_path / "out.png")
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == (64, 96, 3)


@pytest.mark.parametrize("name", ["video", "shots"])
def test_videos(name, video, tmp_path):
    assert "30" in run(name, video, tmp_path / "out.mp4")
    assert (probe(tmp_path / "out.mp4").width, probe(tmp_path / "out.mp4").height) == (96, 64)


def test_frames():
    assert run("frames").splitlines()[-1] == "4 (192, 256, 3) uint8"


def test_space(tmp_path):
    pytest.importorskip("gradio", reason="needs gradio: pip install '.[gui]'")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    command = [sys.executable, str(ROOT / "examples" / "space.py"), "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address) as answer:
            assert b"osediff-video" in answer.read() and (tmp_path / "files").is_dir()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
