"""Help that one can read, options that mean the same everywhere, and each of which does something."""

import json
import re
from fractions import Fraction

import click
import numpy as np
import pytest
from PIL import Image

from cli.help import OTHER, GroupedOption
from cli.main import COMMANDS, cli
from osediff_video.media.probe import probe
from osediff_video.options import VideoOptions
from tests.commands.test_cli import run
from tests.support.media_files import read, sample_image, write_video

ROOT = click.Context(cli, info_name="osediff-video")


def every_command(group=cli, context=ROOT):
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from every_command(command, click.Context(command, parent=context, info_name=name))
        else:
            yield click.Context(command, parent=context, info_name=name)


ALL = list(every_command())


def options(context):
    return [one for one in context.command.params if isinstance(one, click.Option)]


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_every_option_stands_in_a_group_with_a_sentence_of_its_own(context):
    text = context.get_help()
    for one in options(context):
        assert isinstance(one, GroupedOption) and one.group != OTHER, one.name
        assert one.help and one.help[0].isupper() and "." in one.help, one.name
        assert not re.match(r"(Of|That|Its?|Those|The same|Then|More|Less) ", one.help), one.help
        assert len(re.findall(rf"^  {re.escape(', '.join(one.opts))}(?: |$)", text, re.M)) == 1
    headings = [line for line in text.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert len(headings) == len(set(headings))


@pytest.mark.parametrize("context", ALL, ids=lambda context: context.command_path)
def test_numbers_say_their_range(context):
    for one in options(context):
        if isinstance(one.type, click.types.FloatParamType | click.types.IntParamType):
            record = one.get_help_record(context)[1]
            assert re.search(r"\d", record) or "lower is better" in record, record


def test_commands_that_share_options_share_their_definition():
    shared = {}
    for context in ALL:
        if context.info_name in ("upscale", "image", "preview", "probe"):
            for one in options(context):
                facts = (one.help, repr(one.default), one.type.name, one.group)
                shared.setdefault(one.opts[-1], {})[context.info_name] = facts
    of_upscale = {name for name, where in shared.items() if "upscale" in where}
    own = {"--output", "--json", "--uncertainty", "--seed"}  # what they write or draw differs
    for name in of_upscale - own:
        assert len(set(shared[name].values())) == 1, name
    job = {"--restart", "--overwrite", "--strict", "--pipe-format", "--json", "--uncertainty", "--draws", "--seed"}
    job |= {"--on-done", "--realtime", "--latency"}
    several_machines = {"--segments", "--allow-mixed", "--workers", "--cluster", "--worker-cores"}
    several_machines |= {"--ship-input", "--allow-public"}
    for name in of_upscale - job - several_machines:
        assert "probe" in shared[name], name
    for name in of_upscale - job - several_machines - {"--start", "--end"}:
        assert "preview" in shared[name], name
    assert {"--scale", "--size", "--json", "--model", "--tile"} <= {
        n for n, where in shared.items() if "image" in where
    }


def test_output_has_one_name_in_every_command():
    for context in ALL:
        for one in options(context):
            assert "--out" not in one.opts
            assert ("--output" in one.opts) == ("-o" in one.opts)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mp4", [512 * n for n in range(60)], size=(16, 24))


def test_preview_takes_what_upscale_takes_and_means_it(video, tmp_path, monkeypatch):
    seen = []
    from osediff_video.workflow import preview as sample

    upscale = sample.upscale_video

    def watched(source, target, upscaler, encoding, options, **rest):
        seen.append(options)
        return upscale(source, target, upscaler, encoding, options, **rest)

    monkeypatch.setattr(sample, "upscale_video", watched)
    words = ["--at", "1", "--seconds", "0.2", "--temporal", "off", "--deinterlace", "off", "--cuts", "off"]
    run("preview", video, "-o", tmp_path / "a.mp4", "--scale", "2", *words)
    start, end = Fraction(1), Fraction(1) + Fraction(0.2)
    assert seen == [VideoOptions(temporal="off", deinterlace="off", cuts="off", start_s=start, end_s=end)]
    assert "no such file" in run("preview", video, "-o", tmp_path / "b.mp4", "--shots", tmp_path / "none.toml", code=1)


def test_preview_takes_a_folder_of_frames(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(12):
        Image.fromarray(sample_image(number, 16, 24)).save(frames / f"{number}.png")
    words = ["--scale", "2", "--fps", "10", "--at", "0.5", "--seconds", "0.3", "--codec", "ffv1"]
    output = run("preview", frames, "-o", tmp_path / "sample.mkv", *words)
    shown = read(tmp_path / "sample.mkv")
    assert len(shown) == 3 and "about 12 frames" in output
    assert shown[0].image.shape == (32, 96, 3)


def test_probe_takes_the_options_of_the_model(video):
    plain = json.loads(run("probe", video, "--json"))
    assert plain["model"].startswith("lite on cpu")
    vivid = json.loads(
        run("probe", video, "--json", "--model", "lite-faithful", "--precision", "fp32", "--size", "32x48")
    )
    assert vivid["model"].startswith("lite-faithful on cpu in float32")
    assert (vivid["output"]["width"], vivid["output"]["height"]) == (32, 48)
    assert "there is no model 'none'" in run("probe", video, "--model", "none", code=1)
    assert "tile_px must be a multiple of 8" in run("probe", video, "--tile", "129", code=2)


def test_image_takes_a_size_and_reports_json(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(sample_image(1, 20, 30)).save(tmp_path / name)
    (tmp_path / "c.png").write_bytes(b"no image")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    output = run("image", *paths, "-o", tmp_path / "out", "--size", "40", "--json", code=1)
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert [(row.get("width"), row.get("height")) for row in rows] == [(60, 40), (60, 40), (None, None)]
    assert "not a readable image" in rows[2]["error"]
    assert np.asarray(Image.open(rows[0]["target"])).shape == (40, 60, 3) and "a_40.png" in rows[0]["target"]
    assert "expected 1 to 8 times" in run("image", paths[0], "--size", "4k", code=1)
    assert "size must be like" in run("image", paths[0], "--size", "large", code=2)


def test_events_and_the_video_never_share_standard_output(video):
    assert "would both write to standard output" in run("upscale", video, "-o", "-", "--json", code=2)


def test_an_export_that_cannot_be_written_is_refused_before_the_training(tmp_path):
    recipe = "train/recipes/lite-one-stage.toml"
    (tmp_path / "taken").mkdir()
    assert "exists already" in run("train", recipe, "--export", tmp_path / "taken", code=1)
    assert "published layout" in run("train", recipe, "--export", tmp_path / "a.pkl", code=1)
    assert "add --export" in run("train", recipe, "--commit", "abc", code=2)
    assert "leave one of them out" in run("train", recipe, "--check", "--export", tmp_path / "b", code=2)


def test_commands_without_options_of_their_own_explain_themselves():
    assert set(COMMANDS) == {context.info_name for context in ALL if context.parent is ROOT} | {"models", "presets"}
    assert probe is not None


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_called_without_its_group_knows_the_same_help(name):
    """And does not change what the group's own help says afterwards: click keeps the first."""
    command = cli.get_command(click.Context(cli), name)
    assert "-h, --help" in command.get_help(click.Context(command, info_name=name))
