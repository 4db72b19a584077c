"""Downloads from a server in the Hub's layout: mirrors, interruptions, wrong files, no network, no room."""

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from image_core.errors import DownloadError
from image_core.models.hub import Download, Fetcher

CONTENT = np.random.default_rng(0).bytes(3 << 20)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILES = {"unet/big.safetensors": DIGEST, "config.json": None}


@pytest.fixture(autouse=True)
def _mirrors(hub):
    """owner/first and owner/second have the same two files."""
    for name in ("first", "second"):
        folder = hub.root / "owner" / name
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "big.safetensors").write_bytes(CONTENT)
        (folder / "config.json").write_text('{"a": 1}')


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
        "import os; from pathlib import Path; from image_core.models import hub\n"
        "import huggingface_hub.file_download as f\n"
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
