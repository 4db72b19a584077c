"""RAM and DAPE against the authors' own code (../shared/oracle/tagger)."""

import json
import shutil

import numpy as np
import pytest
import torch

from image_core.images import to_tensor
from image_core.models.official import Ingredients, make_bundle
from image_core.options import UpscaleOptions
from image_core.prompts.prompter import load_prompter
from image_core.prompts.ram import geometry, read_ram, renamed_tensors
from image_core.prompts.tagger import Tagger, TaggerConfig, load_tagger


@pytest.fixture(scope="module")
def oracle(shared):
    return shared / "oracle" / "tagger"


@pytest.fixture(scope="module")
def facts(oracle):
    return json.loads((oracle / "tags.json").read_text())


@pytest.fixture(scope="module")
def folder(oracle, facts, tmp_path_factory):
    """The oracle's tiny RAM and DAPE with their lists, as a user would keep them."""
    folder = tmp_path_factory.mktemp("ram")
    shutil.copy(oracle / "ram_tiny.pth", folder / "ram_swin_large_14m.pth")
    shutil.copy(oracle / "dape_tiny.pth", folder / "DAPE.pth")
    (folder / "ram_tag_list.txt").write_text("\n".join(facts["tag_list"]), encoding="utf-8")
    (folder / "ram_tag_list_threshold.txt").write_text("\n".join(map(repr, facts["threshold"])))
    return folder


@pytest.fixture(scope="module", params=["ram", "dape"])
def named(request, folder):
    dape = folder / "DAPE.pth" if request.param == "dape" else None
    return request.param, read_ram(folder / "ram_swin_large_14m.pth", dape)


@pytest.fixture(scope="module")
def images(oracle):
    golden = np.load(oracle / "ram_inputs.npz")
    return [to_tensor([golden[f"input_u8_{index}"]]) for index in range(4)]


def test_preparation_is_the_published_one(oracle, named, images):
    golden = np.load(oracle / "ram_inputs.npz")
    for index, image in enumerate(images):
        prepared = named[1].prepare(image).numpy()
        assert prepared.shape == (1, 3, 384, 384)
        assert np.abs(prepared[:, :, ::4, ::4] - golden[f"pre_{index}_every4"]).max() < 1e-5


def test_logits_and_tags_are_the_published_ones(oracle, facts, named, images):
    name, tagger = named
    golden = np.load(oracle / f"ram_{name}.npz")
    with torch.no_grad():
        logits = torch.cat([tagger(tagger.prepare(image)) for image in images])
    assert np.abs(logits.numpy() - golden["logits"]).max() < 1e-4
    tags = [tagger.tags(image)[0] for image in images]
    assert [", ".join(result) for result in tags] == facts["captions"][name]
    assert tagger.tags(images[3].repeat(2, 1, 1, 1)) == [tags[3], tags[3]]


def test_a_saved_tagger_says_the_same_in_half_precision(named, facts, images, tmp_path):
    name, tagger = named
    tagger.save(tmp_path, torch.float16)
    again = load_tagger(tmp_path / "tagger")
    assert again.names == tagger.names and torch.equal(again.thresholds, tagger.thresholds)
    assert [", ".join(again.tags(p)[0]) for p in images] == facts["captions"][name]
    size = (tmp_path / "tagger" / "model.safetensors").stat().st_size
    assert size < 2.1 * sum(parameter.numel() for parameter in tagger.parameters())


def test_names_and_shapes_of_the_full_size_model(oracle):
    facts = json.loads((oracle / "ram_dape_keys_shapes.json").read_text())
    published = {key: torch.empty(shape, device="meta") for key, (shape, _) in facts["inference"].items()}
    config = geometry(published, oracle)
    assert config == TaggerConfig(tags=4585)
    with torch.device("meta"):
        tagger = Tagger(config, ("",) * config.tags, torch.zeros(config.tags))
        ours = {key: tuple(tensor.shape) for key, tensor in tagger.state_dict().items()}
        assert {key: tuple(t.shape) for key, t in renamed_tensors(published, config, oracle).items()} == ours
    count = sum(parameter.numel() for parameter in tagger.parameters())
    assert count == facts["counts"]["inference"] == 212_117_045
    used = set(facts["dape_lora_used"])
    targets = {k.removesuffix("weight") for k in published if k.endswith("attn.qkv.weight")}
    targets |= {k.removesuffix("weight") for k in published if k.endswith(("self.query.weight", "self.key.weight"))}
    assert used == {f"{target}lora_{letter}" for target in targets for letter in "AB"}


def test_tags_become_the_published_prompts(folder, facts, oracle, tiny_base, tiny_weights, tmp_path):
    golden = np.load(oracle / "ram_inputs.npz")
    parts = Ingredients(tiny_base, tiny_weights, tagger=folder / "ram_swin_large_14m.pth", dape=folder / "DAPE.pth")
    bundle = make_bundle(parts, tmp_path / "tagging", merge=True, half=True)
    prompter = load_prompter(bundle, UpscaleOptions())
    for index, expected in enumerate(facts["test_prompt"]["dape"]):
        assert prompter.describe(to_tensor([golden[f"input_u8_{index}"]])) == [expected]
    with_words = load_prompter(bundle, UpscaleOptions(prompt="sharp"))
    (words,) = with_words.describe(to_tensor([golden["input_u8_1"]]))
    assert words == f"{facts['captions']['dape'][1]}, sharp,"
