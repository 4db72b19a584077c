"""Bundles: a damaged, foreign or newer one is refused, and the embedded one is what it says."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_core.bundle import read_bundle, verify_bundle
from image_core.errors import CheckpointError, ModelNotFoundError
from image_core.models.catalogue import EMBEDDED, find_model, installed, models_folder
from image_core.models.load import choose_device, load_generator
from image_core.prompts.embedding import Prompts
from image_core.storage.files import sha256


@pytest.fixture
def copied(tiny_bundle, tmp_path):
    path = tmp_path / "copy"
    shutil.copytree(tiny_bundle.path, path)
    return path


def rewrite(path, **changes):
    file = path / "bundle.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_one_altered_byte_is_noticed(copied):
    file = copied / "unet.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"unet\.safetensors: altered"):
        load_generator(read_bundle(copied))


def test_a_missing_file_is_named(copied):
    (copied / "autoencoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"autoencoder\.safetensors: missing"):
        verify_bundle(read_bundle(copied))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("conv_in.bias"), r"missing tensor conv_in\.bias"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected tensor extra"),
        (lambda t: t.update({"conv_in.bias": torch.zeros(3)}), r"conv_in\.bias has shape \(3,\)"),
        (lambda t: t["conv_in.bias"].fill_(float("nan")), r"conv_in\.bias holds values that are no finite numbers"),
    ],
)
def test_tensors_are_checked_both_ways(copied, change, words):
    file = copied / "unet.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    rewrite(copied, files=json.loads((copied / "bundle.json").read_text())["files"] | {file.name: sha256(file)})
    with pytest.raises(CheckpointError, match=words):
        load_generator(read_bundle(copied))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format version 2"),
        ({"timestep": None}, "missing key 'timestep'"),
        ({"surprise": 1}, "unknown key 'surprise'"),
        ({"autoencoder": "other"}, "autoencoder is 'other', expected one of 'kl', 'lite'"),
        ({"files": {"../outside": "0" * 64}}, "outside the bundle"),
        ({"files": {}}, r"does not list unet\.json"),
        ({"alpha_bar": 0.0}, "alpha_bar is 0.0, expected a number from"),
        ({"alpha_bar": 1.0}, "alpha_bar is 1.0, expected a number from"),
        ({"tiny_decoder": 1}, "tiny_decoder is 1, expected a folder"),
        ({"tiny_decoder": "../taesd"}, r"'\.\./taesd' lies outside the bundle; name it by an absolute path"),
        ({"tiny_decoder": "taesd"}, r"does not list taesd/config\.json, which its tiny_decoder needs"),
        ({"tiny_decoder": "/taesd", "autoencoder": "lite"}, "has a small decoder of its own"),
        ({"timestep": 100_000}, "timestep is 100000, expected a whole number from 0 to 99999"),
    ],
)
def test_the_description_is_checked(copied, changes, words):
    rewrite(copied, **changes)
    with pytest.raises(CheckpointError, match=words):
        read_bundle(copied)


def test_folders_and_files_that_are_no_bundle(tmp_path):
    with pytest.raises(CheckpointError, match=r"no bundle\.json"):
        read_bundle(tmp_path)
    (tmp_path / "bundle.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["lite", "lite-faithful"])
def test_the_embedded_models_keep_their_promises(name):
    bundle = find_model(name)
    verify_bundle(bundle)
    assert bundle.config.name == name
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 20e6
    card = bundle.config.card
    assert {"summary", "data", "recipe", "seed", "commit", "samples_seen", "measured", "limits"} <= card.keys()
    assert not card["recipe"]["data"]["folder"].startswith(("/", ".."))
    generator, text = load_generator(bundle), Prompts(bundle)(None)
    with torch.no_grad():
        flat = generator(torch.full((1, 3, 64, 64), 0.3), text)
    assert (flat - 0.3).abs().max() < 0.02


def test_the_embedded_model_reads_no_prompts():
    with pytest.raises(CheckpointError, match="stored prompts"):
        Prompts(find_model("lite"))("a cat")


def test_models_are_found_by_name_folder_and_auto(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert find_model("auto").config.name == "lite" and find_model(str(tiny_bundle.path)).config.name == "tiny"
    with pytest.raises(ModelNotFoundError, match=r"'no-such'.*lite"):
        find_model("no-such")
    if models_folder().is_relative_to(tmp_path):  # where the platform's convention follows XDG
        models_folder().mkdir(parents=True)
        shutil.copytree(tiny_bundle.path, models_folder() / "sd21")
        assert set(installed()) == {"lite", "lite-faithful", "sd21"} and find_model("auto").path.name == "sd21"


def test_a_device_that_is_not_here_is_an_error():
    for name in ("cuda:77", "no-such-device"):
        with pytest.raises(ModelNotFoundError, match=name):
            choose_device(name)
