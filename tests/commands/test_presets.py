"""Presets: those of the package are sound, what the user types wins, and every mistake in a file is one line."""

from fractions import Fraction

import pytest

from cli.main import cli
from image_core.options import UpscaleOptions
from osediff_video import Encoding, PresetError, VideoOptions, read_preset
from osediff_video.media.probe import probe
from osediff_video.workflow.presets import SHIPPED, preset_names, preset_text
from tests.commands.test_cli import run
from tests.support.media_files import write_video


def values_of(*words):
    """The values that the body of `upscale` would get."""
    command = cli.get_command(None, "upscale")
    return command.make_context("upscale", [str(word) for word in words]).params


def write(folder, text):
    path = folder / "own.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", preset_names())
def test_each_preset_is_sound_and_explains_itself(name):
    preset = read_preset(name)
    assert preset.summary and preset.model in ("lite", "lite-faithful")
    assert (preset.image, preset.video, preset.encoding) != (UpscaleOptions(), VideoOptions(), Encoding())
    lines = preset_text(name).splitlines()
    for setting in set(preset.given) - {"crf"}:  # a reason stands above the setting, or above the one before it
        place = next(n for n, line in enumerate(lines) if line.startswith(setting))
        assert lines[place - 1].startswith("#"), setting
    assert run("presets", "show", name).splitlines() == lines


def test_the_list_names_every_preset_with_its_summary():
    output = run("presets", "list")
    assert preset_names() == sorted(path.stem for path in SHIPPED.iterdir())
    assert {"phone", "dvd", "vhs", "animation", "web", "film-scan", "archive"} == set(preset_names())
    assert all(name in output and read_preset(name).summary in output for name in preset_names())


def test_a_preset_holds_until_the_user_says_otherwise(tmp_path):
    own = write(
        tmp_path,
        'model = "lite-faithful"\n[image]\nadaptive = true\nstrength = 0.5\n'
        + '[video]\nsize = "720p"\nfps = "30000/1001"\nstrict = true\n'
        + '[encoding]\npreset = "slow"\ncrf = 20\n[encoding.options]\ntune = "grain"\n',
    )
    plain, given = values_of("a.mp4"), values_of("a.mp4", "--preset-file", own)
    changed = {name for name in plain if plain[name] != given[name]}
    assert changed == {
        "model", "adaptive", "strength", "size", "fps", "strict", "preset", "crf", "encoder_options",
    }  # fmt: skip
    assert given["fps"] == Fraction(30000, 1001) and given["encoder_options"] == (("tune", "grain"),)
    words = ["--no-adaptive", "--strength", 1, "--scale", 2, "--fps", 25, "--no-strict", "--preset", "fast"]
    typed = values_of("a.mp4", *words, "--model", "lite", "--crf", 9, "--preset-file", own)
    assert (typed["adaptive"], typed["strength"], typed["strict"], typed["fps"]) == (False, 1, False, 25)
    assert (typed["preset"], typed["crf"], typed["model"]) == ("fast", 9, "lite")
    assert typed["size"] is None and typed["scale"] == 2  # a typed scale wins over the size of a preset


def test_the_result_is_that_of_the_preset(tmp_path):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(3)], size=(16, 24))
    assert "model: lite on" in run("upscale", source, "--preset-file", "dvd", "-o", tmp_path / "out.mp4")
    assert (probe(tmp_path / "out.mp4").width, probe(tmp_path / "out.mp4").height) == (48, 32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[image]\nstrenght = 1\n", "[image]: unknown key 'strenght'; did you mean 'strength'?"),
        ("[image]\nstrength = 2\n", "[image]: strength must be from 0 to 1, got 2"),
        ("[image]\nstrength = true\n", "strength must be a number, got True"),
        ("[image]\nprompt = 3\n", "prompt must be a string, got 3"),
        ("[image]\nadaptive = 1\n", "adaptive must be true or false, got 1"),
        ("[image]\nbatch = 1.5\n", "batch must be a whole number, got 1.5"),
        ('[image]\ncolor_fix = "warm"\n', "color_fix must be one of 'auto', 'adain', 'wavelet', 'none', got 'warm'"),
        ('[video]\ndeinterlace = ["on"]\n', "deinterlace must be one of"),
        ('[video]\nfps = "fast"\n', "fps: expected a number such as 24"),
        ("[video]\nfps = 0\n", "fps must be above 0"),
        ("[video]\nstart_s = 3\n", "start_s is a matter of a single run"),
        ('[video]\ncuts = "list.txt"\n', "cuts must be 'auto' or 'off'"),
        ('[video]\nsize = "huge"\n', "size must be like 1080p"),
        ("[encoding]\noptions = 3\n", "options must be a table"),
        ("[encoding.options]\na = [1]\n", "options must be a table"),
        ("[encodings]\ncrf = 3\n", "unknown key 'encodings'; did you mean 'encoding'?"),
        ("image = 3\n", "image must be a table"),
        ("model = 3\n", "model must be a string, got 3"),
        ("[image\n", "not readable as TOML"),
        ("a = " + "[" * 5000, "not readable as TOML"),
    ],
)
def test_a_mistake_in_a_preset_is_one_line(tmp_path, text, message):
    own = write(tmp_path, text)
    with pytest.raises(PresetError) as caught:
        read_preset(own)
    assert str(own) in str(caught.value) and message in str(caught.value) and "\n" not in str(caught.value)
    output = run("upscale", "none.mp4", "--preset-file", own, code=1)
    assert message in output and len(output.strip().splitlines()) == 1


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path):
    assert "did you mean 'vhs'?" in run("presets", "show", "vsh", code=1)
    assert "expected a TOML file, or one of animation" in run("presets", "show", tmp_path / "qqq", code=1)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match="cannot be read"):
        read_preset(tmp_path / "binary.toml")
