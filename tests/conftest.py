"""Fixtures that several files need. No network, no real weights: tiny random models in the real layouts.

What takes seconds to import is imported where it is needed: pytest's first process starts the others and runs no test.
"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    # tiny models: a second thread costs more than it brings, and results do not depend on the machine
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    # what users have cached, or finished, is neither read nor written
    cache, state = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: cache)
        patch.setattr("platformdirs.user_state_path", lambda *_, **__: state)
        patch.setenv("XDG_STATE_HOME", str(state))  # of the processes that tests start
        yield


@pytest.fixture(scope="session")
def shared():
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A folder in the layout of Stable Diffusion 2.1-base, with random weights."""
    from tests.support.tiny_models import write_base

    return write_base(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture(scope="session")
def tiny_weights(tiny_base, tmp_path_factory):
    """A checkpoint in the layout of the published osediff.pkl that fits `tiny_base`."""
    from tests.support.tiny_models import write_weights

    return write_weights(tiny_base, tmp_path_factory.mktemp("weights") / "osediff.pkl")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_base, tiny_weights, tmp_path_factory):
    from image_core.models.official import import_official

    return import_official(tiny_base, tiny_weights, tmp_path_factory.mktemp("bundles") / "tiny", merge=False)


@pytest.fixture(scope="session")
def tiny_ram(tmp_path_factory):
    """A folder with a tiny random ram_swin_large_14m.pth, its two lists and DAPE.pth, as a user would keep them."""
    from tests.support.tiny_ram import write_ram

    return write_ram(tmp_path_factory.mktemp("ram"))


@pytest.fixture(scope="session")
def tagging_bundle(tiny_base, tiny_weights, tiny_ram, tmp_path_factory):
    """As `tiny_bundle`, merged, in half precision and with a tagger."""
    from image_core.models.official import Ingredients, make_bundle

    parts = Ingredients(tiny_base, tiny_weights, tagger=tiny_ram / "ram_swin_large_14m.pth", dape=tiny_ram / "DAPE.pth")
    return make_bundle(parts, tmp_path_factory.mktemp("bundles") / "tagging", merge=True, half=True)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face Hub on this machine, with nothing on it yet."""
    from tests.support.hub_server import serving

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # 10 MB in life, more than our files
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture(scope="module")
def generator():
    """A tiny random model of the embedded kind."""
    from tests.support.tiny_lite import random_generator

    return random_generator()
