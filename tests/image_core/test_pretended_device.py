"""Every way of the program on a device that is not there (tests/support/pretended.py): same images, few transfers."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_small

from image_core.models.official import Ingredients, import_official, make_bundle
from tests.support.media_files import sample_image, write_video
from tests.support.tiny_models import write_base, write_weights
from tests.support.tiny_ram import ADAPTERS, WEIGHTS, write_ram
from tests.support.train_recipes import ENVIRONMENT, write_images

KINDS = ["cuda", "mps"]
ONCE = ("storage/", "prompts/", "models/", "bicubic")
"""What crosses once for all frames: weights and texts."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What tests/support/pretended_run.py works on."""
    folder = tmp_path_factory.mktemp("pretended")
    base, ram = write_base(folder / "base"), folder / "ram"
    weights = write_weights(base, folder / "osediff.pkl")
    import_official(base, weights, folder / "tiny", merge=False)
    ram.mkdir()
    write_ram(ram)
    parts = Ingredients(base, weights, tagger=ram / WEIGHTS, dape=ram / ADAPTERS)
    make_bundle(parts, folder / "tagging", merge=True, half=False)
    draw = np.random.default_rng(5)
    Image.fromarray(draw.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(folder / "in.png")
    images = [np.clip(sample_image(n, 48, 64) + draw.integers(-20, 20, (48, 64, 3)), 0, 255) for n in range(5)]
    write_video(folder / "in.mkv", [40 * n for n in range(5)], time_base=Fraction(1, 1000), last_duration=40,
                images=[image.astype(np.uint8) for image in images], size=(48, 64))  # fmt: skip
    torch.manual_seed(0)
    save_file(raft_small(weights=None, progress=False).state_dict(), folder / "raft.safetensors")
    write_images(folder / "images")
    return folder


def measured(kind, part, folder):
    """Return what the process measured; its errors are shown where it fails."""
    command = [sys.executable, "-m", "tests.support.pretended_run", kind, part]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=1800)
    assert not done.returncode, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(results, prefix):
    """Those of the CPU but for .1 % of the values: sums are taken in another order, and the blend carries that on."""
    checked = {name: value for name, value in results.items() if name.startswith(prefix)}
    assert checked and {n: v for n, v in checked.items() if v[0] > 8 or v[1] > 0.001} == {}


@pytest.mark.parametrize("kind", ["cuda", pytest.param("mps", marks=pytest.mark.slow)])
def test_images_and_videos_are_those_of_the_cpu_and_little_crosses(kind, folder):
    results = measured(kind, "quick", folder)
    check(results, "image")
    check(results, "video")
    assert results["threads"] == (2 if kind == "cuda" else 1)  # an Apple GPU bears no two at once
    crossed = {"up": 0, "down": 0, "wait": 0}
    for line, count in results["transfers"].items():
        if not any(part in line for part in ONCE):
            crossed[line.split()[0]] += count
    # a batch of five frames goes up at once, with how its colours are steadied, then the motion of each, for the blend
    # and for the warm-up of the next segment; down come whether the batch is finite, and each frame
    assert crossed["up"] <= 2 + 5 + 5 and crossed["down"] <= 1 + 5, results["transfers"]
    assert crossed["wait"] <= crossed["down"] + (crossed["up"] if kind == "mps" else 0), results["transfers"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_gives_the_images_of_the_cpu(kind, folder):
    results = measured(kind, "pictures", folder)
    for prefix in ("image", "half", "video"):
        check(results, prefix)
    assert results["preview"] > 0 and results["probe"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_shortage_of_memory_in_any_words_steps_down(kind, folder):
    results = measured(kind, "shortage", folder)
    assert len(results) == 9
    assert all(said and level <= 1 and share < 0.001 for level, share, said in results.values()), results


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_models_train_as_on_the_cpu(kind, folder):
    results = measured(kind, "training", folder)
    assert results.pop("trained there")
    assert len(results) == 3 and all(value < 1e-3 for value in results.values()), results
