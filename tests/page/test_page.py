"""The page without a browser: its words are the command's, its folders are walls, its sentences are plain."""

import itertools
import shlex
import socket
from fractions import Fraction
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import cli
from cli.model_options import image_options
from cli.video_options import encoding, video_options
from osediff_video import MediaError, OutputError, Preview, preset_names
from osediff_video.images.image_file import ImageFile, write_image
from page.actions import Actions, Controls, command_of, timeline_of
from page.facts import clock, estimate_of, facts_of, size_of
from page.folders import make_folders
from page.queue import Queue, StoppedError
from page.request import Request, from_json
from page.serve import listening
from tests.support.media_files import sample_image, write_video


def parsed(request):
    """What the command's own parser makes of the words."""
    name, *words = shlex.split(command_of(request))[1:]
    command = cli.get_command(click.Context(cli), name)
    values = dict(command.make_context(name, words).params)
    model = values["model"]
    return model, image_options(values), video_options(values), encoding(values), values


CHOICES = {
    "preset": ["none", *preset_names()],
    "model": ["auto", "lite-faithful"],
    "size": ["x2", "x1.5", "1080p"],
    "strength": [1.0, 0.35],
    "steadiness": [0.7, 0.3, 0],
    "deinterlace": ["auto", "on", "off"],
    "crf": [None, 21.0],
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_command_shown_asks_for_what_the_page_does(name, tmp_path):
    source, target = tmp_path / "a film; rm -rf '$HOME'.mkv", tmp_path / "out put.mkv"
    source.touch()
    for value, preset in itertools.product(CHOICES[name], ("none", "archive", "vhs")):
        wanted = {"preset": preset, "start": "1.25", "end": "90"} | {name: value}
        request = Request(str(source), str(target), **wanted)
        model, images, video, how, values = parsed(request)
        assert images == request.image_options() and model == request.model
        assert video == request.video_options() and how == request.encoding()
        assert values["sources"] == (source,) and values["output"] == target
        assert video.start_s == Fraction(5, 4) and video.end_s == 90
        assert from_json(vars(request)) == request


def test_the_command_for_an_image_is_that_for_images():
    request = Request("/in.png", "/out.png", is_image=True, size="x3", strength=0.5, steadiness=0, crf=3.0)
    assert command_of(request) == "osediff-video image /in.png -o /out.png --scale 3 --strength 0.5"


@pytest.fixture
def folders(tmp_path):
    for name in ("films", "out", "secret"):
        (tmp_path / name).mkdir()
    (tmp_path / "secret" / "key.mp4").touch()
    (tmp_path / "films" / "in.mp4").touch()
    (tmp_path / "films" / "link.mp4").symlink_to(tmp_path / "secret" / "key.mp4")
    (tmp_path / "films" / "round").symlink_to(tmp_path / "films" / "round")
    return make_folders((tmp_path / "films",), tmp_path / "out", tmp_path / "cache" / "uploads")


def test_paths_outside_the_folders_are_refused(folders, tmp_path):
    assert (
        folders.readable("in.mp4") == folders.readable(str(tmp_path / "films" / "in.mp4")) == tmp_path / "films/in.mp4"
    )
    outside = ["../secret/key.mp4", str(tmp_path / "secret/key.mp4"), "/etc/passwd", "link.mp4", "~/x", "/", ".."]
    for words in outside:
        with pytest.raises(MediaError, match="outside the folders of this page"):
            folders.readable(words)
    for words in ("", "  ", "none.mp4", "in.mp4\0", "http://example.org/in.mp4", "x" * 5000, "round"):
        with pytest.raises(MediaError) as caught:
            folders.readable(words)
        assert "\n" not in str(caught.value)
    assert folders.writable("a b.mp4") == tmp_path / "out" / "a b.mp4"
    for name in ("", "../a.mp4", "/tmp/a.mp4", "sub/a.mp4", "..", "a\0.mp4"):
        with pytest.raises(OutputError, match="without a folder"):
            folders.writable(name)
    with pytest.raises(OutputError, match="no such folder"):
        make_folders((tmp_path / "none",), None, tmp_path / "cache")


def never(*_):
    raise AssertionError("nothing is carried out here")


@pytest.fixture
def actions(folders, tmp_path):
    (tmp_path / "views").mkdir()
    return Actions(folders, Queue(tmp_path / "queue", never), tmp_path / "views")


def test_a_source_is_looked_at_planned_and_queued(actions, tmp_path):
    write_video(tmp_path / "films" / "in.mp4", [512 * n for n in range(100)], size=(16, 24), sound_from=Fraction(0))
    looked = actions.look("in.mp4", Controls(size="x2"))
    facts = facts_of(looked.plan)
    assert facts["rows"][0] == ("Images", "24 x 16, h264, 8 bit", "48 x 32, libx264, yuv420p")
    assert facts["rows"][2] == ("Stream 1: audio", "aac", "is copied")
    track = timeline_of(looked)
    assert track["duration"] == 4.0 and track["end"] - track["start"] == 3.0
    entry = actions.add("in.mp4", Controls(size="x2", only_stretch=True, start=1.0, end=2.5, name="part.mkv"))
    assert entry.request.target == str(tmp_path / "out" / "part.mkv") and (entry.request.start, entry.request.end) == (
        "1",
        "2.5",
    )
    (tmp_path / "out" / "in_x2.mp4").touch()
    for controls, words in (
        (Controls(size="x2"), "give the result another name"),
        (Controls(size="x9"), "scale must be from 1 to 8"),
        (Controls(size="large"), "size must be like 1080p"),
        (Controls(size="x"), "size must be like x2"),
        (Controls(crf="fine"), "CRF must be a number"),
        (Controls(name="../in.mp4"), "without a folder"),
        (Controls(name="out.xyz"), "cannot write .xyz"),
    ):
        with pytest.raises(OutputError, match=words):
            actions.add("in.mp4", controls)
    assert len(actions.listed()) == 1


def test_a_preview_that_is_stopped_leaves_nothing(actions, tmp_path):
    write_video(tmp_path / "films" / "in.mp4", [512 * n for n in range(30)], size=(16, 24))
    frames = []

    def stop(progress):
        frames.append(progress.frames)
        actions.stop_preview("a page")

    with pytest.raises(StoppedError):
        actions.preview("in.mp4", Controls(size="x1", model="lite"), "a page", stop)
    assert frames == [1] and not list(actions.views.iterdir()) and not actions.previews
    actions.stop_preview("a page")
    assert actions.queue.held_by == 0


def test_every_option_of_gui_reaches_the_page(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("page.serve.serve", lambda folders, output, **named: calls.append((folders, output, named)))
    monkeypatch.setattr("click.launch", calls.append)
    invoke = CliRunner().invoke
    assert invoke(cli, ["gui"]).exit_code == 0
    ready = calls[-1][2].pop("ready")
    assert calls[-1] == ((Path(),), None, {"host": "127.0.0.1", "port": 7860})
    ready("http://127.0.0.1:7860")
    assert len(calls) == 1  # no browser is opened unasked
    words = [str(tmp_path), "x", "-o", "out", "--host", "0.0.0.0", "--port", "0", "--open"]
    assert invoke(cli, ["gui", *words]).exit_code == 0
    ready = calls[-1][2].pop("ready")
    assert calls[-1] == ((tmp_path, Path("x")), Path("out"), {"host": "0.0.0.0", "port": 0})
    ready("http://127.0.0.1:81")
    assert calls[-1] == "http://127.0.0.1:81"


def test_an_image_is_looked_at_as_one(actions, tmp_path):
    write_image(tmp_path / "films" / "in.png", ImageFile(sample_image(0, 16, 24)))
    looked = actions.look("in.png", Controls())
    assert looked.request.is_image and timeline_of(looked) is None
    assert facts_of(looked.plan)["rows"] == [("Image", "24 x 16, 8 bit", "96 x 64, .png")]


def test_a_broken_file_is_one_line(actions, tmp_path):
    (tmp_path / "films" / "broken.mp4").write_bytes(b"no video at all" * 100)
    (tmp_path / "films" / "broken.png").write_bytes(b"no image at all" * 100)
    for name in ("broken.mp4", "broken.png"):
        with pytest.raises(Exception, match=name) as caught:
            actions.look(name, Controls())
        assert "\n" not in str(caught.value)


def test_sentences_and_numbers():
    shown = Preview(None, None, 50, 25.0, 3725.0, 4_200_000_000)
    assert estimate_of(shown) == (
        "Measured here: 2.00 frames a second; the whole takes about 1:02:05 and about 4.2 GB of disk, and as much "
        "again while it works."
    )
    assert estimate_of(Preview(None, None, 50, 25.0, None, None)) == "Measured here: 2.00 frames a second."
    assert (clock(0.4), clock(59.6), size_of(12), size_of(2_500_000)) == ("0:00", "1:00", "1 kB", "2.5 MB")


def test_a_port_that_is_taken_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OutputError, match="choose another port"), listening("127.0.0.1", taken.getsockname()[1]):
            pass
