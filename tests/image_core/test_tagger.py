"""RAM and DAPE: golden numbers of a tiny tagger, and what is refused. The authors' own numbers: tests/oracle."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from image_core.errors import CheckpointError
from image_core.images import to_tensor
from image_core.prompts.ram import read_ram
from image_core.prompts.tagger import TAG_LIST, THRESHOLDS, Tagger, TaggerConfig, load_tagger
from tests.support.tiny_ram import ADAPTERS, IMAGES, WEIGHTS

GOLDEN = json.loads((Path(__file__).parent.parent / "golden" / "tagger.json").read_text(encoding="utf-8"))
"""Of the tiny tagger, by this code when it gave the published numbers on the published files (tests/oracle)."""


@pytest.fixture(scope="module", params=["ram", "dape"])
def named(request, tiny_ram):
    dape = tiny_ram / ADAPTERS if request.param == "dape" else None
    return request.param, read_ram(tiny_ram / WEIGHTS, dape)


@pytest.fixture(scope="module")
def images():
    return [to_tensor([image]) for image in IMAGES]


def test_preparation_is_the_published_one(named, images):
    """Squeezed to 384 x 384 by area and bilinear weights, then normalised: numbers kept from when it was compared."""
    for number, image in enumerate(images):
        prepared = named[1].prepare(image)
        assert prepared.shape == (1, 3, 384, 384)
        assert np.abs(prepared[0, :, 7::96, 5::96].flatten().numpy() - GOLDEN["prepared"][number]).max() < 1e-4


def test_logits_and_tags_are_those_of_the_published_arithmetic(named, images):
    name, tagger = named
    with torch.no_grad():
        logits = torch.cat([tagger(tagger.prepare(image)) for image in images])
    assert np.abs(logits[:, ::4].numpy() - GOLDEN[name]["logits"]).max() < 1e-3
    tags = [tagger.tags(image)[0] for image in images]
    assert [", ".join(result) for result in tags] == GOLDEN[name]["captions"]
    assert tagger.tags(images[3].repeat(2, 1, 1, 1)) == [tags[3], tags[3]]


def test_a_saved_tagger_says_the_same_in_half_precision(named, images, tmp_path):
    name, tagger = named
    tagger.save(tmp_path, torch.float16)
    again = load_tagger(tmp_path / "tagger")
    assert again.names == tagger.names and torch.equal(again.thresholds, tagger.thresholds)
    assert [", ".join(again.tags(p)[0]) for p in images] == GOLDEN[name]["captions"]
    size = (tmp_path / "tagger" / "model.safetensors").stat().st_size
    assert size < 2.1 * sum(parameter.numel() for parameter in tagger.parameters())


def test_the_full_size_model_has_as_many_parameters_as_published():
    with torch.device("meta"):
        tagger = Tagger(TaggerConfig(tags=4585), ("",) * 4585, torch.zeros(4585))
    assert sum(parameter.numel() for parameter in tagger.parameters()) == 212_117_045


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (TAG_LIST, None, rf"{TAG_LIST}: missing; the tags' names must lie beside"),
        (THRESHOLDS, None, rf"{THRESHOLDS}: missing; their thresholds must lie beside"),
        (TAG_LIST, "cat\ndog\n", "2 lines, but the head has 40 outputs"),
        (THRESHOLDS, "0.5\n" * 41, "41 lines, but the head has 40 outputs"),
        (THRESHOLDS, "0.5\n" * 39 + "high\n", "line 40: expected a number, got 'high'"),
        (THRESHOLDS, "1.5\n" * 40, "line 1: expected 0 to 1, got '1.5'"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tiny_ram, tmp_path, file, content, words):
    folder = tmp_path / "ram"
    shutil.copytree(tiny_ram, folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=words):
        read_ram(folder / "ram_swin_large_14m.pth")


def dape(folder, tmp_path, change):
    adapters = torch.load(folder / ADAPTERS, weights_only=True)
    change(adapters)
    torch.save(adapters, tmp_path / "DAPE.pth")
    return tmp_path / "DAPE.pth"


FIRST = "visual_encoder.layers.0.blocks.0.attn.qkv.lora_A"
TIED = "tag_encoder.encoder.layer.0.crossattention.self.query.lora_B"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop(FIRST), f"1 of 24 adapters are missing .first: {FIRST}"),
        (lambda d: d.clear(), "24 of 24 adapters are missing"),
        (lambda d: d.update({FIRST: torch.zeros(2, 2)}), r"have shapes \(2, 2\)"),
        (lambda d: d.update({TIED: torch.ones(48, 2)}), f"{TIED} is not zero"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tiny_ram, tmp_path, change, words):
    with pytest.raises(CheckpointError, match=words):
        read_ram(tiny_ram / "ram_swin_large_14m.pth", dape(tiny_ram, tmp_path, change))


def test_foreign_and_damaged_files_are_refused(tiny_ram, tmp_path):
    whole = (tiny_ram / "ram_swin_large_14m.pth").read_bytes()
    for name in (TAG_LIST, THRESHOLDS):
        shutil.copy(tiny_ram / name, tmp_path)
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"model": {"fc.weight": torch.zeros(1)}}, tmp_path / "foreign.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    for name in ("cut", "text", "foreign", "list", "missing"):
        with pytest.raises(CheckpointError, match=rf"{name}\.pth"):
            read_ram(tmp_path / f"{name}.pth")
    (tmp_path / "page.pth").write_text("\n<!DOCTYPE html>")
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    torch.save({"model": {"reweight_scale": torch.zeros(1)}}, tmp_path / "plus.pth")
    for name, words in (("page", "a web page"), ("pointer", "a Git LFS pointer"), ("plus", r"this is RAM\+\+")):
        with pytest.raises(CheckpointError, match=words):
            read_ram(tmp_path / f"{name}.pth")
    with pytest.raises(CheckpointError, match="this is RAM itself"):
        read_ram(tiny_ram / "ram_swin_large_14m.pth", tiny_ram / "ram_swin_large_14m.pth")


def test_the_other_name_of_the_head_is_read_too(tiny_ram, images, tmp_path):
    content = torch.load(tiny_ram / "ram_swin_large_14m.pth", weights_only=True)
    model = {key.replace("tagging_head.", "vision_multi."): tensor for key, tensor in content["model"].items()}
    for name in (TAG_LIST, THRESHOLDS):
        shutil.copy(tiny_ram / name, tmp_path)
    torch.save({"model": model}, tmp_path / "old.pth")
    expected = read_ram(tiny_ram / "ram_swin_large_14m.pth").tags(images[0])
    assert read_ram(tmp_path / "old.pth").tags(images[0]) == expected
