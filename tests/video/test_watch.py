"""What arrives in a folder is upscaled when it is complete, and a command hears of each result."""

import shutil
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from osediff_video import MediaError, OutputError
from osediff_video.job.folder import job_folder
from osediff_video.media.probe import probe
from osediff_video.workflow.on_done import command_words, run_on_done
from osediff_video.workflow.watch import check_watched, complete_files, is_written_to, place_in
from tests.commands.test_cli import run
from tests.support.media_files import sample_image, write_video

SETTLE_S = 0.15


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


def test_files_are_handed_on_once_they_no_longer_change(tmp_path):
    for name in ("a.mp4", "b.png"):
        (tmp_path / name).write_bytes(b"whole")
    for name in (".c.mp4", "d.mp4.part", "e.txt"):
        (tmp_path / name).write_bytes(b"not meant")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()

    def copy_slowly():
        with (tmp_path / "slow.mkv").open("wb", buffering=0) as file:
            for _ in range(8):
                file.write(b"some")
                time.sleep(SETTLE_S / 2)

    writer = threading.Thread(target=copy_slowly)
    writer.start()
    seen = {}
    for path in complete_files(tmp_path, SETTLE_S, once=True):
        seen[path.name] = path.read_bytes()
    writer.join()
    assert seen == {"a.mp4": b"whole", "b.png": b"whole", "slow.mkv": b"some" * 8}


def test_folders_within_are_watched_but_for_results_and_unfinished_work(tmp_path):
    for name in ("a.mp4", "b/c/d.png", "out/b/e.mp4", "f.mkv.osediff/g.mkv", ".h/i.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"whole")
    found = list(complete_files(tmp_path, SETTLE_S, output=tmp_path / "out", once=True))
    assert found == [tmp_path / "a.mp4", tmp_path / "b" / "c" / "d.png"]
    place = place_in(tmp_path / "out", found[1], tmp_path, "d_x2.png")
    assert place == tmp_path / "out" / "b" / "c" / "d_x2.png" and place.parent.is_dir()
    (tmp_path / "b" / "a.mp4").mkdir()
    with pytest.raises(OutputError, match="cannot be made"):
        place_in(tmp_path, tmp_path / "b" / "a.mp4" / "x.png", tmp_path / "b", "x.png")


def test_a_replaced_file_is_handed_on_again(tmp_path):
    file = tmp_path / "a.mp4"
    file.write_bytes(b"first")
    files = complete_files(tmp_path, SETTLE_S)
    assert next(files) == file
    file.write_bytes(b"second version")
    assert next(files) == file
    shutil.rmtree(tmp_path)
    looks = []

    def sleep(_):
        looks.append(1)
        if len(looks) > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # a folder that went away is waited for
        list(complete_files(tmp_path, SETTLE_S, sleep=sleep))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who writes")
def test_a_file_that_is_open_for_writing_is_not_complete_however_long_it_rests(tmp_path):
    file = tmp_path / "a.mp4"
    with file.open("wb") as stream:
        stream.write(b"half")
        stream.flush()
        if not is_written_to(file):
            pytest.skip("this file system grants no leases")
    assert not is_written_to(file)


def test_folders_that_cannot_be_watched_are_refused(folders):
    source, output = folders
    check_watched(source, output)
    (source / "file").touch()
    for bad_source, bad_output, error in (
        (source / "none", output, MediaError),
        (source, source, OutputError),
        (source, source / "file", OutputError),
        (source, output / "deep" / "er", OutputError),
    ):
        with pytest.raises(error) as caught:
            check_watched(bad_source, bad_output)
        assert "\n" not in str(caught.value)


def test_the_command_upscales_what_is_there_and_goes_on_after_a_failure(folders):
    source, output = folders
    write_video(source / "film.mp4", [512 * n for n in range(5)], size=(16, 24))
    (source / "trip").mkdir()
    Image.fromarray(sample_image(0, 16, 24)).save(source / "trip" / "photo.png")
    (source / "broken.mp4").write_bytes(b"no video")
    note = [
        sys.executable,
        "-c",
        "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')",
        output.parent / "log",
    ]
    hook = subprocess.list2cmdline(map(str, note)) if sys.platform == "win32" else " ".join(map(quoted, note))
    words = ["watch", source, "-o", output, "--once", "--settle", SETTLE_S, "--scale", "2", "--model", "lite"]
    said = run(*words, "--on-done", hook, code=1)
    assert "broken.mp4" in said and "verified: 5 of 5 frames" in said
    photo = output / "trip" / "photo_x2.png"
    assert sorted(output.rglob("*")) == [output / "film_x2.mp4", photo.parent, photo]
    assert (probe(output / "film_x2.mp4").width, Image.open(photo).size) == (48, (48, 32))
    done = (output.parent / "log").read_text().splitlines()
    assert done == [str(output / "film_x2.mp4"), str(photo)]
    (source / "broken.mp4").unlink()
    said = run(*words, "--on-done", hook)
    assert said.count("nothing to do") == 2 and (output.parent / "log").read_text().splitlines() == done
    assert not job_folder(output / "film_x2.mp4").exists()


def quoted(word):
    import shlex

    return shlex.quote(str(word))


def test_a_command_gets_the_path_as_one_argument_and_no_shell(tmp_path, capfd):
    result = tmp_path / "a b; touch pwned $(touch pwned).mp4"
    result.touch()
    words = command_words(f"{quoted(sys.executable)} -c 'import sys; print(sys.argv[1:])' --flag")
    run_on_done(words, result)
    out, err = capfd.readouterr()
    assert out == "" and err.strip() == repr(["--flag", str(result)])
    assert [path.name for path in tmp_path.iterdir()] == [result.name]
    with pytest.raises(OutputError, match="ended with code 3"):
        run_on_done([sys.executable, "-c", "raise SystemExit(3)"], result)
    for wrong in ("no-such-program-anywhere x", "", "'open"):
        with pytest.raises(OutputError, match="--on-done"):
            command_words(wrong)


def test_upscale_tells_a_command_of_each_result_and_fails_with_it(folders):
    source, output = folders
    write_video(source / "film.mp4", [512 * n for n in range(3)], size=(16, 24))
    words = ["upscale", source / "film.mp4", "--scale", "1", "--model", "lite", "-o", output.parent / "out.mkv"]
    said = run(*words, "--on-done", "no-such-program-anywhere", code=1)
    assert "there is no program no-such-program-anywhere" in said and not (output.parent / "out.mkv").exists()
    said = run(*words, "--on-done", f"{quoted(sys.executable)} -c 'raise SystemExit(4)'", code=1)
    assert "is done, but" in said and "code 4" in said and (output.parent / "out.mkv").is_file()
    run(*words, "--on-done", f"{quoted(sys.executable)} -c 'raise SystemExit(4)'")  # finished before: nothing is run
    assert "goes with neither" in run("upscale", source / "film.mp4", "-o", "-", "--on-done", "true", code=2)


def test_image_tells_a_command_of_each_result_and_fails_with_it(folders):
    source, output = folders
    for name in ("a.png", "b.png"):
        Image.fromarray(sample_image(0, 16, 24)).save(source / name)
    note = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n'); raise SystemExit('a_x2' in sys.argv[2])"
    hook = f"{quoted(sys.executable)} -c {quoted(note)} {quoted(output.parent / 'log')}"
    words = ["image", source, "--scale", "2", "--model", "lite", "-o", output]
    assert "there is no program" in run(*words, "--on-done", "no-such-program-anywhere", code=1)
    said = run(*words, "--on-done", hook, code=1)
    assert "a_x2.png: is done, but" in said and "1 of 2 images failed" in said
    assert (output.parent / "log").read_text().split() == [str(output / f"{name}_x2.png") for name in "ab"]
    assert sorted(path.name for path in output.iterdir()) == ["a_x2.png", "b_x2.png"]
