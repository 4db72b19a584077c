"""On a real card: half precision against float32, the card against the CPU, and the ladder of memory.

Needs CUDA: `pytest -m gpu`. With OSEDIFF_REQUIRE_GPU=1 a machine without it fails instead of skipping.
"""

import os

import numpy as np
import pytest
import torch

from image_core.device.free_memory import free_bytes
from image_core.models.catalogue import find_model
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from tests.support.media_files import sample_image

pytestmark = pytest.mark.gpu
MODELS = ["tiny", "lite"]


@pytest.fixture(scope="module", autouse=True)
def card():
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if os.environ.get("OSEDIFF_REQUIRE_GPU") == "1":
        pytest.fail("OSEDIFF_REQUIRE_GPU=1, but torch finds no CUDA device", pytrace=False)
    pytest.skip("no CUDA device")


def restored(name, tiny_bundle, device, dtype, image, **options):
    bundle = tiny_bundle if name == "tiny" else find_model(name)
    upscaler = load_upscaler(bundle, UpscaleOptions(scale=2, **options), device=torch.device(device), dtype=dtype)
    return upscaler([image])[0].astype(int)


@pytest.fixture
def photo():
    return sample_image(3, 96, 128)


@pytest.mark.parametrize("name", MODELS)
def test_the_card_computes_what_the_cpu_does(name, tiny_bundle, photo):
    there = restored(name, tiny_bundle, "cuda", torch.float32, photo)
    here = restored(name, tiny_bundle, "cpu", torch.float32, photo)
    assert np.abs(there - here).max() <= 2 and (there != here).mean() < 0.01


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 1.0), (torch.bfloat16, 3.0)])
def test_half_precision_stays_close_to_float32(name, dtype, most, tiny_bundle, photo):
    half = restored(name, tiny_bundle, "cuda", dtype, photo)
    whole = restored(name, tiny_bundle, "cuda", torch.float32, photo)
    assert np.abs(half - whole).mean() < most


@pytest.mark.parametrize("share", [0.5, 0.2, 0.1])
def test_less_memory_takes_smaller_tiles_and_gives_the_same_image(share, tiny_bundle):
    image = sample_image(1, 384, 512)
    expected = restored("lite", tiny_bundle, "cuda", torch.float16, image)
    torch.cuda.empty_cache()
    used = torch.cuda.mem_get_info()[1] - free_bytes(torch.device("cuda"))
    most = (used + 600e6 * share) / torch.cuda.mem_get_info()[1]
    try:
        torch.cuda.set_per_process_memory_fraction(min(1.0, most))
        result = restored("lite", tiny_bundle, "cuda", torch.float16, image)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.abs(result - expected).mean() < 0.5
