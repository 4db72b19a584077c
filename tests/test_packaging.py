"""What is built and installed holds everything that runs, and nothing else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("image_core", "osediff_video", "train", "page", "cli")
OUTSIDE = (".*", "build", "dist", "runs", "*.egg-info", "__pycache__", "tests", "benchmarks", "docs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build an sdist and, out of it, a wheel; without network, by the build tools of this environment."""
    if not importlib.util.find_spec("build") or not importlib.util.find_spec("setuptools"):
        pytest.skip("needs build and setuptools: pip install '.[test]'")
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(*OUTSIDE))
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return next(folder.glob("*.whl"))


def sources():
    """Return what a wheel must hold: modules, recipes, embedded weights and the marks of typed packages."""
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    files |= {path for path in (ROOT / "image_core" / "weights").rglob("*") if path.is_file()}
    files |= set((ROOT / "train" / "recipes").glob("*.toml"))
    files |= set((ROOT / "osediff_video" / "workflow" / "preset_files").glob("*.toml"))
    files |= {ROOT / "page" / "page.css", *(ROOT / "page" / "parts").iterdir()}
    files |= {ROOT / package / "py.typed" for package in PACKAGES}
    return {path.relative_to(ROOT).as_posix() for path in files}


@pytest.mark.slow
def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == sources()


@pytest.mark.slow
def test_the_wheel_runs_where_the_sources_are_not(wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    target = tmp_path / "clip_x4.mp4"
    command = [sys.executable, "-m", "cli", "upscale", str(ROOT / "samples" / "clip.mp4"), "-o", str(target)]
    words = [*command, "--end", "0.2", "--model", "lite"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and target.stat().st_size > 1000, done.stdout + done.stderr
