"""Whatever a bundle holds: one line that says what is wrong, at once, and nobody outside the machine is asked."""

import shutil
import socket
import time

import numpy as np
import pytest
import torch

from image_core.bundle import read_bundle
from image_core.errors import OseDiffError
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from tests.support.hostile_bundles import HARMLESS, HOSTILE, sign
from tests.support.tiny_lite import sample_images

PROMPT = "a harp"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Looking up a name or connecting is a failure, and the library is not held back by being offline."""

    def refuse(*words, **_):
        raise AssertionError(f"the network was asked: {words}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def _fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")


def upscale(folder):
    options = UpscaleOptions(prompt=PROMPT, scale=2)
    upscaler = load_upscaler(read_bundle(folder), options, device=torch.device("cpu"), dtype=torch.float32)
    return upscaler(sample_images(1, 16, 16))[0]


@pytest.fixture(scope="module")
def expected(tiny_bundle):
    return upscale(tiny_bundle.path)


def copied(bundle, tmp_path, change):
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.path, folder)
    change(folder)
    sign(folder)
    return folder


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_line(name, tiny_bundle, tmp_path):
    folder = copied(tiny_bundle, tmp_path, HOSTILE[name])
    started = time.monotonic()
    with pytest.raises(OseDiffError) as caught:
        upscale(folder)
    message = str(caught.value)
    assert time.monotonic() - started < 5
    assert str(folder) in message or "autoencoder" in message, message
    assert len(message.splitlines()) == 1 and len(message) < 1000 and "weights_only" not in message


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_not_used_changes_nothing(name, tiny_bundle, tmp_path, expected):
    assert np.array_equal(upscale(copied(tiny_bundle, tmp_path, HARMLESS[name])), expected)


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 150
