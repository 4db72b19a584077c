"""A file that is written anew is there whole, or as it was."""

import os
import stat

import pytest

from image_core.storage.files import replacing, sha256, write_whole


class StopError(Exception):
    pass


def test_a_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "notes.txt"
    write_whole(path, "old")
    write_whole(path, "neu: größer")
    assert path.read_text(encoding="utf-8") == "neu: größer" and list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_what_stood_there_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    write_whole(path, "old")
    with pytest.raises(StopError), replacing(path) as part:
        part.write_text("half")
        raise StopError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_target_is_whole_as_long_as_the_block_runs(tmp_path):
    path = tmp_path / "notes.txt"
    write_whole(path, "old")
    with replacing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old" and part.parent == tmp_path and part.suffix == ".txt"
    assert path.read_text() == "new"


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    secret, path = tmp_path / "secret", tmp_path / "link.txt"
    secret.write_text("theirs")
    path.symlink_to(secret)
    write_whole(path, "ours")
    assert secret.read_text() == "theirs" and path.read_text() == "ours" and not path.is_symlink()


def test_names_of_unfinished_files_differ_each_time(tmp_path):
    with replacing(tmp_path / "a.bin") as one, replacing(tmp_path / "a.bin") as other:
        assert one != other


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_permissions_of_an_existing_file_are_kept_and_new_ones_follow_the_umask(tmp_path):
    path = tmp_path / "notes.txt"
    before = os.umask(0o027)
    try:
        write_whole(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_whole(path, "newer")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_the_longest_name_a_disk_takes_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    write_whole(path, "long")
    assert path.read_text() == "long"


def test_a_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_new_content_is_on_the_disk_before_it_takes_the_place(tmp_path, monkeypatch):
    """Or a power cut could leave an empty file where a whole one stood."""
    path, done = tmp_path / "notes.txt", []
    real_fsync, real_replace = os.fsync, type(path).replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("flushed"), real_fsync(file))[1])
    monkeypatch.setattr(
        type(path), "replace", lambda part, target: (done.append("replaced"), real_replace(part, target))[1]
    )
    write_whole(path, "new")
    assert done == ["flushed", "replaced"]
