"""What the user types, in a real second process or through click, and what comes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.doctor import card_advice
from cli.main import COMMANDS, cli
from osediff_video.media.probe import probe
from tests.support.media_files import packets, read, read_times, sample_image, write_video
from tests.support.rich_video import write_rich

ROOT = Path(__file__).parent.parent.parent


def run(*words, code=0):
    outcome = CliRunner().invoke(cli, [str(word) for word in words])
    assert outcome.exit_code == code, outcome.output
    assert "Traceback" not in outcome.output
    return outcome.output


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mp4", [512 * n for n in range(7)], sound_from=Fraction(0), size=(16, 24))


def test_help_is_instant():
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cli", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    modules = (
        "import sys, cli.main, cli.upscale, cli.image; print([m for m in ('torch', 'av', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", modules], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
    assert time.monotonic() - started < 5  # two interpreters; the limit only catches a heavy import


def test_every_command_explains_itself():
    for command in COMMANDS:
        assert "Usage:" in run(command, "--help")


def test_a_video_becomes_four_times_larger_with_its_sound(video):
    output = run("upscale", video)
    target = video.with_name("video_x4.mp4")
    facts = probe(target)
    assert (facts.width, facts.height) == (96, 64) and "model: lite" in output and "verified: 7 of 7" in output
    assert [frame.pts for frame in read(target)] == [512 * n for n in range(7)]
    assert [data for _, data in packets(video, "audio")] == [data for _, data in packets(target, "audio")]


def test_an_existing_result_is_kept_unless_asked(video):
    target = video.with_name("video_x4.mp4")
    target.write_bytes(b"mine")
    assert "--overwrite" in run("upscale", video, code=1)
    assert target.read_bytes() == b"mine"
    run("upscale", video, "--overwrite", "--scale", "4")
    assert target.stat().st_size > 100


def test_frames_in_frames_out_and_frames_to_video(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(sample_image(number, 17, 23)).save(frames / f"shot{number}.png")
    run("upscale", frames, "--scale", "2")
    written = sorted((tmp_path / "frames_x2").iterdir())
    assert len(written) == 3 and Image.open(written[0]).size == (46, 34)
    run("upscale", frames, "-o", tmp_path / "video.mkv", "--fps", "24000/1001", "--scale", "1")
    facts = probe(tmp_path / "video.mkv")
    assert (facts.width, facts.height) == (23, 17)
    assert np.allclose(
        [float(time) for time in read_times(tmp_path / "video.mkv")], [0, 1001 / 24000, 2002 / 24000], atol=5e-4
    )


def test_several_videos_go_into_a_folder_and_a_bad_one_does_not_stop_the_rest(video, tmp_path):
    bad, out = tmp_path / "bad.mp4", tmp_path / "out"
    bad.write_text("no video")
    out.mkdir()
    output = run("upscale", bad, video, "-o", out, code=1)
    assert "bad.mp4" in output and [path.name for path in out.iterdir()] == ["video_x4.mp4"]


def test_images_folders_and_patterns(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(sample_image(3, 15, 22)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    out.mkdir()
    run("image", tmp_path / "a.png")
    assert Image.open(tmp_path / "a_x4.png").size == (88, 60)
    run("image", f"{tmp_path}/?.png", "-o", out, "--scale", "2")
    assert sorted(path.name for path in out.iterdir()) == ["a_x2.png", "b_x2.png"]
    run("image", tmp_path / "a.png", "-o", tmp_path / "c.jpg", "--tile", "128")
    assert Image.open(tmp_path / "c.jpg").size == (88, 60)


def test_probe_models_and_verify(video):
    assert "24 x 16" in run("probe", video)
    assert "lite" in run("models", "list") and "match their hashes" in run("models", "verify", "lite")


def test_models_import(tiny_base, tiny_weights, tmp_path):
    out = tmp_path / "bundle"
    run(
        "models",
        "import",
        "--base",
        tiny_base,
        "--weights",
        tiny_weights,
        "--output",
        out,
        "--merge",
        "--prompt",
        "a cat",
    )
    Image.fromarray(sample_image(0, 16, 16)).save(tmp_path / "in.png")
    run("image", tmp_path / "in.png", "--model", out, "--prompt", "a cat", "--color-fix", "wavelet")
    assert Image.open(tmp_path / "in_x4.png").size == (64, 64)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["upscale", "missing.mp4"], 1, "no such file"),
        (["upscale", "VIDEO", "--scale", "9"], 2, "scale"),
        (["upscale", "VIDEO", "--scale", "0.5"], 2, "scale"),
        (["upscale", "VIDEO", "--model", "no-such"], 1, "no model 'no-such'"),
        (["upscale", "VIDEO", "--prompt", "a cat"], 1, "accepts only its stored prompts"),
        (["upscale", "VIDEO", "-o", "VIDEO"], 1, "source itself"),
        (["upscale", "VIDEO", "-o", "nowhere/out.mp4"], 1, "no such folder"),
        (["upscale", "VIDEO", "-o", "out.avi"], 1, "cannot write .avi"),
        (["upscale", "VIDEO", "--codec", "no-such"], 1, "no-such"),
        (["upscale", "VIDEO", "--tile", "130"], 2, "tile"),
        (["upscale", "VIDEO", "--fps", "fast"], 2, "expected a rate"),
        (["upscale", "VIDEO", "--encoder-option", "x"], 2, "key=value"),
        (["upscale", "VIDEO", "VIDEO", "-o", "out.mp4"], 2, "folder as output"),
        (["upscale", "VIDEO", "--flow", "raft.pth", "--model", "no-such"], 1, "raft.pth: no such file"),
        (["upscale", "VIDEO", "--cuts", "cuts.txt", "--model", "no-such"], 1, "cuts.txt: no such file"),
        (["upscale", "VIDEO", "--device", "cuda:77"], 1, "cuda:77"),
        (["upscale", "EMPTY"], 1, "0 bytes"),
        (["upscale", "EMPTYDIR"], 1, "no frames"),
        (["image", "missing.png"], 1, "no such file"),
        (["image", "EMPTY"], 1, "not a readable image"),
        (["image", "VIDEO"], 1, "not a readable image"),
        (["image", "EMPTYDIR"], 2, "no images here"),
        (["image", "IMAGE", "IMAGE", "-o", "new"], 2, "two images would both be written to new/in_x4.png"),
        (["image", "IMAGE", "-o", "o.png", "--uncertainty", "o.png"], 2, "both be written to o.png"),
        (["image", "IMAGE", "EMPTY", "-o", "EMPTY"], 1, "exists and is not a folder"),
        (["image", "IMAGE", "-o", "new/out.png"], 1, "no such folder"),
        (["probe", "EMPTY"], 1, "0 bytes"),
        (["probe", "VIDEO", "--shots", "shots.toml"], 1, "shots.toml: no such file"),
        (["probe", "VIDEO", "--scale", "9"], 2, "scale"),
        (["models", "verify", "EMPTYDIR"], 1, "no bundle.json"),
        (["models", "import", "--base", "EMPTYDIR", "--weights", "VIDEO", "--output", "bundle"], 1, "missing"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(video, tmp_path, monkeypatch, words, code, message):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    Image.fromarray(sample_image(0, 16, 16)).save(tmp_path / "in.png")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    names = {
        "VIDEO": video,
        "EMPTY": tmp_path / "empty.mp4",
        "EMPTYDIR": tmp_path / "folder",
        "IMAGE": tmp_path / "in.png",
    }
    output = run(*(names.get(word, word) for word in words), code=code)
    assert message in output
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_folder_without_permission_is_refused(video, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    command = [sys.executable, "-m", "cli", "upscale", str(video), "-o", str(locked / "out.mp4")]
    if os.geteuid() == 0:  # who may write everywhere, unless that is taken away
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "not writable" in done.stderr and not list(locked.iterdir())


def test_json_events_tell_the_whole_story(video):
    from osediff_video.media.stream_plan import plan_streams

    lines = [json.loads(line) for line in run("upscale", video, "--json").splitlines() if line.startswith("{")]
    assert next(line["event"] for line in lines) == "plan" and lines[-1]["event"] == "done"
    assert [stream["action"] for stream in lines[0]["streams"]] == [s.action for s in plan_streams(video, "mp4")]
    assert lines[-1]["verified"] and lines[-1]["frames"] == 7 and lines[-1]["largest_time_error_ms"] == 0
    bad = run("upscale", video, "--json", "-o", "out.mp4", "--codec", "nothing", code=1)
    assert json.loads(bad.splitlines()[-1])["event"] == "error"


def test_what_is_lost_is_said_before_work(tmp_path):
    rich = write_rich(tmp_path / "rich.mkv", frames=3)
    messages = run("probe", rich, "-o", tmp_path / "out.mp4")
    assert "font.ttf is left out" in messages and ".mkv" in messages and "becomes mov_text" in messages
    assert "attachment" in run("upscale", rich, "-o", tmp_path / "out.mp4", "--strict", code=1)
    facts = json.loads(run("probe", rich, "--json", "--size", "96"))
    assert facts["output"]["height"] == 96 and len(facts["streams"]) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rich.mkv"]


def test_a_tree_of_videos_is_mirrored(video, tmp_path):
    tree = tmp_path / "tree"
    for name in ("a.mp4", "deep/b.mp4"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(video.read_bytes())
    (tree / "deep" / "notes.txt").write_text("no video")
    run("upscale", tree, "-o", tmp_path / "out", "--scale", "1")
    result = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert result == ["a_x1.mp4", "deep/b_x1.mp4"]
    run("upscale", str(tmp_path / "tree" / "*.mp4"), "-o", tmp_path / "out2.mp4", "--scale", "1")
    assert (tmp_path / "out2.mp4").exists()


def test_preview_and_compare(video, tmp_path):
    messages = run("preview", video, "--at", "0.1", "--seconds", "0.1", "--scale", "2")
    assert "measured" in messages and probe(tmp_path / "video_preview.mp4").width == 2 * 48
    run("upscale", video, "--scale", "2")
    for layout, width in (("side", 96), ("split", 48), ("wipe", 48)):
        target = tmp_path / f"{layout}.mp4"
        run("compare", video, tmp_path / "video_x2.mp4", "-o", target, "--layout", layout)
        assert probe(target).width == width and len(read(target)) == 7
    Image.fromarray(sample_image(0)).save(tmp_path / "a.png")
    Image.fromarray(sample_image(1, 96, 128)).save(tmp_path / "b.png")
    run("compare", tmp_path / "a.png", tmp_path / "b.png")
    assert Image.open(tmp_path / "a_vs_b.png").size == (256, 96)
    assert "itself" in run("compare", video, video, "-o", tmp_path / "x.mp4", code=1)


def test_doctor_finds_this_installation_well():
    messages = run("doctor")
    assert "libx264" in messages and "model lite" in messages and "PROBLEM" not in messages


@pytest.mark.parametrize(
    ("drivers", "build", "system", "words"),
    [
        (
            ["CUDA"],
            None,
            "win32",
            "NVIDIA is here, but this torch is built for CPUs alone, as pip installs it on Windows;",
        ),
        (["CUDA"], None, "linux", "NVIDIA is here, but this torch is built for CPUs alone; install torch for CUDA"),
        (["ROCm"], None, "linux", "AMD is here, but this torch is built for CPUs alone; install torch for ROCm"),
        (["ROCm"], "CUDA", "linux", "AMD is here, but this torch is built for CUDA; install torch for ROCm"),
        (["CUDA"], "CUDA", "linux", "cannot use the card: is the driver older than this torch"),
        (["ROCm"], "ROCm", "linux", "HIP_VISIBLE_DEVICES"),
    ],
)
def test_doctor_says_what_to_do_about_a_card_that_is_not_used(drivers, build, system, words):
    assert words in card_advice(drivers, build, system)


def test_pipes_in_and_out(tmp_path):
    source = write_video(
        tmp_path / "in.mkv", [0, 40, 90, 100], time_base=Fraction(1, 1000), codec="ffv1", size=(16, 24)
    )
    words = ["upscale", "-", "--scale", "2"]
    with source.open("rb") as file:  # real pipes once: what comes through is the film and nothing else
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words, "-o", "-"], cwd=ROOT, stdin=file, capture_output=True, check=True
        )
    (tmp_path / "out.matroska").write_bytes(done.stdout)
    for pipe_format in ("nut", "y4m"):
        more = ["-o", "-", "--pipe-format", pipe_format]
        outcome = CliRunner().invoke(cli, [*words, *more], input=source.read_bytes())
        assert outcome.exit_code == 0, outcome.stderr
        (tmp_path / f"out.{pipe_format}").write_bytes(outcome.stdout_bytes)
    for path in tmp_path.glob("out.*"):
        assert (probe(path).width, probe(path).height) == (48, 32) and len(read(path)) == 4
    assert read_times(tmp_path / "out.matroska") == read_times(source)
    outcome = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "out.mp4")], input=source.read_bytes())
    assert outcome.exit_code == 0 and read_times(tmp_path / "out.mp4") == read_times(source)
    other = write_video(tmp_path / "other.mkv", [0, 30], time_base=Fraction(1, 1000), codec="ffv1", size=(16, 24))
    outcome = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "other.mp4")], input=other.read_bytes())
    assert outcome.exit_code == 0 and read_times(tmp_path / "other.mp4") == read_times(other)
    outcome = CliRunner().invoke(cli, [*words, "-o", "-"], input=(ROOT / "samples" / "clip.mp4").read_bytes())
    assert outcome.exit_code == 1 and not outcome.stdout_bytes
    assert "-: " in outcome.stderr and "MP4 and MOV cannot be read from a pipe, send matroska" in outcome.stderr


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 4])
def test_control_c_keeps_the_work_and_says_how_to_go_on(tmp_path, presses):
    # the first segment is complete after 25 frames; the others last a second at least
    source = write_video(tmp_path / "in.mp4", [2048 * n for n in range(90)], size=(48, 64))
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "upscale", str(source), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stdout:
            if '"progress"' in line and json.loads(line)["frames"] > 26:
                break
        for _ in range(presses):
            process.send_signal(signal.SIGINT)
            time.sleep(0.03)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1 and errors.count("Run the same command again") == 1
    assert "Traceback" not in errors and "ignored" not in errors
    assert not (tmp_path / "in_x4.mp4").exists()
    messages = run("upscale", source)
    assert "from an earlier run" in messages and "verified: 90 of 90" in messages


def test_a_stopped_batch_goes_on_as_one_job(tmp_path):
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(folder / name, [512 * n for n in range(5)], size=(16, 24))
    run("upscale", folder, "-o", out, "--scale", 2)
    (out / "b_x2.mp4").unlink()
    (out / "c_x2.mp4").write_bytes(b"somebody else's")
    first = (out / "a_x2.mp4").stat()
    output = run("upscale", folder, "-o", out, "--scale", 2, code=1)
    assert "finished by an earlier run" in output and "c_x2.mp4: already exists" in output
    assert (out / "a_x2.mp4").stat() == first and len(read(out / "b_x2.mp4")) == 5
    assert (out / "c_x2.mp4").read_bytes() == b"somebody else's"


def test_a_folder_of_videos_with_a_poster_is_no_sequence_of_frames(tmp_path):
    folder = tmp_path / "videos"
    (folder / ".Trashes").mkdir(parents=True)
    for name in ("a.mp4", "b.mp4", "._c.mp4", ".Trashes/d.mp4"):
        write_video(folder / name, [512 * n for n in range(3)], size=(16, 24))
    Image.fromarray(sample_image(0)).save(folder / "poster.jpg")
    output = run("upscale", folder, "-o", tmp_path / "out", "--scale", 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_x2.mp4", "b_x2.mp4"]
    assert "images (1) are left out" in output


def test_frames_with_odd_names_come_in_order_and_hidden_files_are_none(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number, name in enumerate(("1²3.png", "2.png", "10.png")):
        Image.fromarray(sample_image(number, 16, 24)).save(frames / name)
    (frames / "._2.png").write_bytes(b"a resource fork")
    run("upscale", frames, "-o", tmp_path / "out.mkv", "--scale", 1, "--codec", "ffv1", "--temporal", "off")
    assert len(read(tmp_path / "out.mkv")) == 3


def test_a_pattern_that_matches_one_image_writes_into_a_folder(tmp_path):
    (tmp_path / "scans").mkdir()
    Image.fromarray(sample_image(0, 16, 24)).save(tmp_path / "scans" / "a.png")
    run("image", tmp_path / "scans" / "*.png", "-o", tmp_path / "restored", "--scale", 2)
    assert [path.name for path in (tmp_path / "restored").iterdir()] == ["a_x2.png"]
