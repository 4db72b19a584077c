"""Downloads from a server in the Hub's layout: mirrors, interruptions, wrong files, no network, no room."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from image_core.errors import DownloadError
from image_core.models import hub as hub_module
from image_core.models.hub import Fetcher
from image_core.models.sources import Download

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
def messages():
    return []


@pytest.fixture
def fetcher(hub, tmp_path, messages):
    return Fetcher(tmp_path / "downloads", endpoint=hub.address, report=messages.append)


def download(*sources, files=FILES):
    return Download("model", sources, files, "put them into {folder}.")


def whole(folder):
    assert (folder / "unet" / "big.safetensors").read_bytes() == CONTENT
    assert (folder / "config.json").read_text() == '{"a": 1}'
    assert not list(folder.rglob("*.part"))


def test_files_come_once(fetcher, hub):
    folder = fetcher.fetch(download("owner/first"))
    whole(folder)
    assert folder.stat().st_mode & 0o077 == 0  # where nobody else can plant what we would open
    requests = len(hub.seen)
    whole(fetcher.fetch(download("owner/first")))
    assert len(hub.seen) == requests == 4


def test_the_next_mirror_is_taken_when_the_first_is_gone(fetcher, hub, messages):
    whole(fetcher.fetch(download("owner/removed", "owner/second")))
    assert sum("owner/removed" in path for _, path, _ in hub.seen) == 1
    assert messages[0] == "owner/removed: unet/big.safetensors: 401 Unauthorized; asking owner/second"


def test_the_next_mirror_is_taken_when_the_first_is_dead(fetcher, messages):
    whole(fetcher.fetch(download("http://127.0.0.1:9/files", "owner/second")))
    assert messages[0].startswith("http://127.0.0.1:9/files: unet/big.safetensors: [Errno")


def test_a_lost_connection_is_taken_up_in_the_same_run(fetcher, hub):
    hub.cut_after["big.safetensors"] = 1 << 20
    whole(fetcher.fetch(download("owner/first")))
    assert [target for method, path, target in hub.seen if method == "GET" and "big" in path] == ["", "bytes=1048576-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on_in_the_next_run_and_at_another_mirror(fetcher, hub, messages, ranges):
    part = fetcher.root / "model" / "unet" / f"big.safetensors.{DIGEST[:16]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[: 1 << 20])  # what a killed process leaves
    hub.ranges = ranges
    whole(fetcher.fetch(download("owner/second")))
    assert [target for method, path, target in hub.seen if method == "GET" and "big" in path] == ["bytes=1048576-"]
    assert messages[0] == "unet/big.safetensors: resuming at 1.0 MB of 3.1 MB from owner/second"


def test_a_killed_process_leaves_what_the_next_one_needs(hub, tmp_path):
    """The real thing: the process is killed in the middle of a file, and HF_ENDPOINT says where the Hub is."""
    hub.cut_after["big.safetensors"] = 2 << 20
    code = (
        "import os; from pathlib import Path; from image_core.models import hub\n"
        "from image_core.models.sources import Download\n"
        "import huggingface_hub.file_download as f\n"
        "f.constants.DOWNLOAD_CHUNK_SIZE = 1 << 16\n"
        "f.time.sleep = lambda _: os._exit(9)  # dies when the connection does\n"
        f"d = Download('model', ('owner/first',), {FILES!r}, '')\n"
        f"hub.Fetcher(Path({str(tmp_path / 'downloads')!r})).fetch(d)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
    outcome = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert outcome.returncode == 9, outcome.stderr
    messages = []
    whole(Fetcher(tmp_path / "downloads", endpoint=hub.address, report=messages.append).fetch(download("owner/second")))
    assert messages[0] == "unet/big.safetensors: resuming at 2.1 MB of 3.1 MB from owner/second"


def test_a_wrong_hash_is_removed_its_source_named_and_the_next_one_asked(fetcher, hub, messages):
    hub.other["big.safetensors"] = bytes(len(CONTENT))
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/first"))
    assert "owner/first: unet/big.safetensors: sent a file with a wrong hash" in caught.value.__notes__[0]
    assert "it was removed" in caught.value.__notes__[0] and len(str(caught.value).splitlines()) == 1
    assert [p.name for p in (fetcher.root / "model").rglob("*") if p.is_file()] == []
    hub.other.clear()
    (hub.root / "owner" / "first" / "unet" / "big.safetensors").write_bytes(b"another")
    messages.clear()
    whole(fetcher.fetch(download("owner/first", "owner/second")))
    assert "owner/first: unet/big.safetensors: offers another file" in messages[0]


def test_small_files_are_checked_by_the_hub_s_own_word(fetcher, hub):
    hub.other["config.json"] = b'{"a": 2}'
    with pytest.raises(DownloadError, match=r"owner/first: config\.json: sent a file with a wrong hash"):
        fetcher.fetch(download("owner/first"))


def test_a_wrong_file_put_there_by_hand_is_replaced(fetcher, messages):
    file = fetcher.root / "model" / "unet" / "big.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"something else")
    whole(fetcher.fetch(download("owner/first")))
    assert "big.safetensors: had a wrong hash" in messages[0]


def test_when_no_source_answers_every_reason_and_a_way_by_hand_are_told(fetcher, hub):
    (hub.root / "owner" / "second" / "unet" / "big.safetensors").unlink()
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/removed", "owner/second", "http://127.0.0.1:9/x"))
    words = "\n".join(caught.value.__notes__)
    assert "try again" not in words  # nobody was just busy
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
    with pytest.raises(DownloadError, match=r"needs 3\.1 MB, but only 1\.0 kB of disk space is free"):
        fetcher.fetch(download("owner/first"))


def test_an_answer_in_time_the_third_time_is_enough(fetcher, hub, messages, monkeypatch):
    monkeypatch.setattr("image_core.models.hub.PAUSES_S", (0.01, 0.01))
    hub.busy["big.safetensors"] = [503, 429]
    whole(fetcher.fetch(download("owner/first", "owner/second")))
    assert not any("second" in path for _, path, _ in hub.seen)
    assert [line.partition("; trying again")[0] for line in messages[:2]] == [
        "owner/first: unet/big.safetensors: 503 Service Unavailable",
        "owner/first: unet/big.safetensors: 429 Too Many Requests",
    ]


def test_a_busy_mirror_is_asked_last_but_not_given_up(fetcher, hub, monkeypatch):
    monkeypatch.setattr("image_core.models.hub.PAUSES_S", (0.01,))
    hub.busy["big.safetensors"] = [503, 503]
    (hub.root / "owner" / "second" / "config.json").unlink()
    whole(fetcher.fetch(download("owner/first", "owner/second")))
    asked = [path.split("/")[2] for method, path, _ in hub.seen if method == "GET"]
    assert asked == ["second", "first"]


def test_a_slow_answer_is_waited_for_again_and_said(fetcher, hub, messages, monkeypatch):
    monkeypatch.setattr("image_core.models.hub.PAUSES_S", (0.01,))
    monkeypatch.setattr(hub_module, "get_hf_file_metadata", partial(hub_module.get_hf_file_metadata, timeout=0.3))
    hub.slow_s["config.json"] = 1.0
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/first", files={"config.json": None}))
    assert any("try again later" in note for note in caught.value.__notes__)
    assert messages == ["owner/first: config.json: no answer in time; trying again in 0.01 s"]


def test_a_mirror_without_one_file_is_not_asked_again(fetcher, hub):
    (hub.root / "owner" / "first" / "unet" / "big.safetensors").unlink()
    whole(fetcher.fetch(download("owner/first", "owner/second")))
    assert sum("owner/first" in path for _, path, _ in hub.seen) == 1


def test_no_more_is_read_than_was_named(fetcher, hub):
    hub.other["big.safetensors"] = CONTENT + bytes(1 << 20)
    hub.named["big.safetensors"] = None  # the body has no length, so that only we can count
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/first"))
    assert "sends more than the expected 3.1 MB" in caught.value.__notes__[0]
    assert [p.name for p in (fetcher.root / "model").rglob("*") if p.is_file()] == []


def test_what_has_no_hash_is_not_taken(fetcher, hub):
    """A captive portal answers everything, with a page of its own."""
    hub.plain, hub.other["config.json"] = True, b"<html>log in</html>"
    with pytest.raises(DownloadError) as caught:
        fetcher.fetch(download("owner/first", files={"config.json": None}))
    assert "gives no hash" in caught.value.__notes__[0]
    assert not (fetcher.root / "model" / "config.json").exists()


@pytest.mark.parametrize("content", ["<html>log in</html>", "[]", "not JSON"])
def test_what_is_not_what_it_should_be_is_loaded_again(fetcher, messages, content):
    """Such as the page that an earlier version kept."""
    (fetcher.root / "model").mkdir(parents=True)
    (fetcher.root / "model" / "config.json").write_text(content)
    whole(fetcher.fetch(download("owner/first")))
    assert any("config.json: " in line and "it was removed" in line for line in messages)


def test_a_file_the_hub_vouched_for_is_checked_again_by_its_word(fetcher, messages):
    folder = fetcher.fetch(download("owner/first"))
    (folder / "config.json").write_text('{"a": 2}')
    whole(fetcher.fetch(download("owner/first")))
    assert any("config.json: had a wrong hash" in line for line in messages)


def test_a_space_of_the_hub_is_a_source_too(fetcher, hub):
    folder = hub.root / "spaces" / "owner" / "demo"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"b": 1}')
    result = fetcher.fetch(download("space:owner/demo", files={"config.json": None}))
    assert (result / "config.json").read_text() == '{"b": 1}'


def test_a_link_in_the_place_of_a_part_is_not_followed(fetcher, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    part = fetcher.root / "model" / "unet" / f"big.safetensors.{DIGEST[:16]}.part"
    part.parent.mkdir(parents=True)
    part.symlink_to(victim)
    with pytest.raises(DownloadError, match="cannot be written"):
        fetcher.fetch(download("owner/first"))
    assert victim.read_text() == "precious"
