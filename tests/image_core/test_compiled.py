"""A compiled model gives the same images; a later process finds the code; where nothing compiles, it runs as it is."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from image_core.device.compiled import Compilation, CompiledPart, compile_networks, filled_up
from image_core.errors import ModelNotFoundError
from image_core.options import UpscaleOptions
from osediff_video.api import load_upscaler
from tests.support.tiny_lite import random_generator, sample_images, upscaler

PROGRAM = """
import numpy as np
from torch._dynamo.utils import counters
from image_core.device.compiled import compile_networks
from tests.support.tiny_lite import random_generator, sample_images, upscaler
said = []
images = sample_images(3, 20, 24)
model = upscaler(compile_networks(random_generator(), said.append), scale=2, batch=2, fast=True)
results = model(images)
exact = upscaler(random_generator(), scale=2, fast=True)(images)
far = max(int(np.abs(one.astype(int) - other).max()) for one, other in zip(results, exact))
inductor = counters["inductor"]
print(far, inductor["fxgraph_cache_miss"], inductor["fxgraph_cache_hit"], len(said), *said)
"""


def in_a_process(folder, **environment):
    """Runs PROGRAM with this folder as cache; returns what it printed."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder)} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(" ", 4)


@pytest.mark.slow
def test_images_are_the_same_and_a_later_process_compiles_nothing(tmp_path):
    far, misses, hits, said = in_a_process(tmp_path)
    assert int(far) <= 1 and (misses, hits, said) == ("2", "0", "0")  # two parts, one size; the last batch is smaller
    assert in_a_process(tmp_path) == [far, "0", "2", "0"]


@pytest.mark.slow
def test_without_a_compiler_images_are_those_of_the_model_as_it_is(tmp_path):
    far, _, _, count, said = in_a_process(tmp_path, CXX="/bin/false")
    assert (
        far == "0" and count == "1" and said.startswith("note: the model cannot be compiled here and runs as it is (")
    )


def part(function, compilation=None):
    return CompiledPart(function, torch.nn.Linear(1, 1), compilation or Compilation(pytest.fail))


@pytest.fixture
def as_it_is(monkeypatch):
    """In place of a compiler, which the other tests have; returns the shapes that it was called with."""
    shapes = []

    def compiled(function, **_):
        return lambda *inputs: shapes.append([tuple(getattr(one, "shape", ())) for one in inputs]) or function(*inputs)

    monkeypatch.setattr(torch, "compile", compiled)
    return shapes


def test_a_smaller_batch_is_filled_up_and_cut_off(as_it_is):
    double = part(lambda image, number, text: image * number + text)
    image, text = torch.arange(12.0).view(4, 3), torch.ones(4, 1)
    assert torch.equal(double(image, 2, text), 2 * image + 1)
    assert torch.equal(double(image[:3], 2, text[:3]), 2 * image[:3] + 1)
    assert as_it_is == [[(4, 3), (), (4, 1)]] * 2
    double(torch.zeros(1, 5), 2, torch.ones(1, 1))  # of another size
    assert as_it_is[-1][0] == (1, 5)
    assert torch.equal(filled_up(image, 5)[4], image[3]) and filled_up(image, 2) is image
    assert filled_up(text[:1].expand(2, 1), 4).stride() == text[:1].expand(4, 1).stride()


def test_weights_in_another_precision_for_once_are_not_compiled(as_it_is):
    double = part(lambda image: image * 2)
    double.module.double()
    assert double(torch.ones(1)) == 2 and as_it_is == []


def test_a_failure_is_said_once_and_memory_is_left_to_the_planner(monkeypatch):
    def broken(error):
        def fail(*_):
            raise error

        return lambda *_, **__: fail

    said = []
    compilation = Compilation(said.append)
    first, second = part(lambda image: image + 1, compilation), part(lambda image: image + 2, compilation)
    monkeypatch.setattr(torch, "compile", broken(RuntimeError("CUDA out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        first(torch.ones(1))
    assert said == []
    second.compiled = broken(OSError("no g++\nand more"))()
    assert second(torch.ones(1)) == 3 and first(torch.ones(1)) == 2
    assert said == ["note: the model cannot be compiled here and runs as it is (no g++)"]


def test_other_engines_are_not_compiled(monkeypatch):
    monkeypatch.setattr("image_core.device.choice.importlib.util.find_spec", lambda _: True)
    with pytest.raises(ModelNotFoundError, match="is not compiled by torch; leave out --compile"):
        load_upscaler("lite", UpscaleOptions(compile=True), device="cpu", precision="fp32", engine="openvino")


def test_it_is_asked_for_by_an_option(as_it_is):
    options = UpscaleOptions(compile=True, scale=2)
    load_upscaler("lite", options, device="cpu", precision="fp32")(sample_images(1, 20, 24))
    assert len(as_it_is) == 3


def test_every_part_is_compiled(as_it_is):
    model, plain = upscaler(compile_networks(random_generator()), scale=2), upscaler(random_generator(), scale=2)
    image = sample_images(1, 20, 24)
    assert np.array_equal(model(image), plain(image)) and len(as_it_is) == 3
