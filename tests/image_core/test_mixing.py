"""Models between two of one shape."""

import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli.main import cli
from image_core.bundle import read_bundle, verify_bundle, write_config
from image_core.errors import CheckpointError, OutputError
from image_core.models.catalogue import find_model
from image_core.models.load import load_generator
from image_core.models.mixing import mix_models
from image_core.options import INT8_FILE


@pytest.fixture
def lite():
    return find_model("lite")


@pytest.fixture
def other(lite, tmp_path):
    """The embedded model with other weights."""
    path = tmp_path / "other"
    shutil.copytree(lite.path, path)
    draw = torch.Generator().manual_seed(0)
    for file in path.glob("*.safetensors"):
        tensors = load_file(file)
        save_file({k: (t + 0.1 * torch.randn(t.shape, generator=draw)).to(t.dtype) for k, t in tensors.items()}, file)
    write_config(path, lite.config)
    return read_bundle(path)


def test_every_weight_is_the_mean_and_the_ends_are_the_models(lite, other, tmp_path):
    for share in (0.0, 0.25, 1.0):
        mixed = mix_models(lite, other, share, tmp_path / f"mix{share}")
        verify_bundle(read_bundle(mixed.path))
        one, two, result = (load_generator(bundle).state_dict() for bundle in (lite, other, mixed))
        for name, tensor in result.items():
            assert torch.allclose(tensor, (1 - share) * one[name] + share * two[name], atol=2e-3)
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in mixed.path.rglob("*"))  # others may read it
    card = mixed.config.card
    assert "measured" in lite.config.card and not {"measured", "limits", "history"} & card.keys()
    assert INT8_FILE in lite.config.files and INT8_FILE not in mixed.config.files  # those are ranges of other weights
    with pytest.raises(ValueError, match="finite"):
        mix_models(lite, other, float("nan"), tmp_path / "nan")
    assert card["mixed_with"]["share"] == 1 and card["data"] == card["mixed_with"]["card"]["data"]


def test_the_command_says_what_it_made_and_keeps_a_card(other, tmp_path):
    (tmp_path / "card.json").write_text('{"summary": "Half and half."}')
    words = ["models", "mix", "lite", str(other.path), "--output", str(tmp_path / "half")]
    result = CliRunner().invoke(cli, [*words, "--card", str(tmp_path / "card.json")])
    assert result.exit_code == 0 and "ready, use it with --model" in result.output
    shown = CliRunner().invoke(cli, ["models", "show", str(tmp_path / "half")])
    assert "summary: Half and half." in shown.output and "name: half" in shown.output
    again = CliRunner().invoke(cli, words)
    assert again.exit_code == 1 and "exists already" in again.output


def test_what_does_not_fit_is_refused_and_leaves_nothing(lite, other, tiny_bundle, tmp_path):
    with pytest.raises(CheckpointError, match="adapters beside its weights"):
        mix_models(lite, tiny_bundle, 0.5, tmp_path / "mix")
    file = other.path / "unet.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"conv_in.bias": torch.zeros(3)}, file)
    write_config(other.path, other.config)
    with pytest.raises(CheckpointError, match=r"conv_in\.bias is \(64,\) and \(3,\)"):
        mix_models(lite, read_bundle(other.path), 0.5, tmp_path / "mix")
    with pytest.raises(OutputError, match="exists already"):
        mix_models(lite, lite, 0.5, other.path)
    assert not (tmp_path / "mix").exists() and not list(tmp_path.glob(".mix*"))
