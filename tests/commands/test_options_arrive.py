"""Every option of `image` and `upscale` arrives: through the command as through the library, and not as without it.

The tables are held against click's own list, so that an option without a row fails.
"""

import functools
import json
from fractions import Fraction

import av
import click
import numpy as np
import pytest
from PIL import Image

from cli.main import cli
from osediff_video import Encoding, UpscaleOptions, VideoOptions, load_upscaler, upscale, upscale_image
from osediff_video.media.probe import probe
from tests.commands.test_cli import run
from tests.support.media_files import read, sample_image, write_video


def option_names(command):
    parameters = cli.get_command(click.Context(cli), command).params
    return {max(one.opts, key=len) for one in parameters if isinstance(one, click.Option)}


def some_quickly(rows, *quick):
    """Mark all but a few as slow: that each arrives alone is what test_wiring shows in no time, without the pixels."""
    assert set(quick) <= set(rows)
    return [pytest.param(name, marks=[pytest.mark.slow] * (name not in quick)) for name in rows]


# ---- image: (words of the command, options of the library, words that both the row and the plain result have)
IMAGE = {
    "--scale": (["--scale", "3"], {"scale": 3}, []),
    "--strength": (["--strength", "0.4"], {"strength": 0.4}, []),
    "--adaptive": (["--adaptive"], {"adaptive": True}, []),
    "--guidance": (["--guidance", "3"], {"guidance": 3.0}, []),
    "--negative-prompt": (
        ["--guidance", "3", "--negative-prompt", "blurry"],
        {"guidance": 3.0, "negative_prompt": "blurry"},
        ["--guidance", "3"],
    ),
    "--lora-scale": (["--lora-scale", "0.2"], {"lora_scale": 0.2}, []),
    "--color-fix": (["--color-fix", "none"], {"color_fix": "none"}, []),
    "--keep-tones": (["--keep-tones"], {"keep_tones": True}, []),
    "--prompt": (["--prompt", "a cat"], {"prompt": "a cat"}, []),
    "--tile": (["--tile", "128"], {"tile_px": 128}, []),
    "--precision": (["--precision", "bf16"], {"precision": "bf16"}, []),
}
IMAGE_ELSEWHERE = {
    "--output", "--overwrite", "--json", "--size", "--model", "--device", "--batch", "--preset-file", "--prompt-mode",
    "--uncertainty", "--draws", "--seed", "--engine", "--on-done", "--as-published", "--fast",
    "--tiny-decoder", "--compile",
}  # fmt: skip
"""Tested below, or in test_as_published.py, test_tiny_decoder.py and test_compiled.py, by what they write, refuse, or
must not change.
"""


def test_every_option_of_image_has_a_row():
    assert option_names("image") == set(IMAGE) | IMAGE_ELSEWHERE


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "in.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 72, 3), dtype=np.uint8)).save(path)
    return path


def by_command(photo, target, model, *words):
    run("image", photo, "-o", target, "--model", model, "--overwrite", *words)
    return np.asarray(Image.open(target))


@pytest.fixture(scope="module")
def without(photo, tiny_bundle, tmp_path_factory):
    """Returns what the command makes of the photo with some words, each once."""
    target = tmp_path_factory.mktemp("without") / "b.png"
    return functools.cache(lambda *words: by_command(photo, target, tiny_bundle.path, *words))


@pytest.mark.parametrize("name", some_quickly(IMAGE, "--strength", "--prompt", "--precision"))
def test_options_of_image_arrive(name, photo, tiny_bundle, without, tmp_path):
    words, values, plain = IMAGE[name]
    base = ["--precision", "fp32", "--scale", "2"]  # click takes the last of two
    result = by_command(photo, tmp_path / "a.png", tiny_bundle.path, *base, *words)
    precision = values.get("precision", "fp32")
    options = UpscaleOptions(**{"scale": 2.0} | {key: one for key, one in values.items() if key != "precision"})
    upscaler = load_upscaler(str(tiny_bundle.path), options, precision=precision)
    assert np.array_equal(result, upscaler([np.asarray(Image.open(photo))])[0])
    other = without(*base, *plain)
    assert result.shape != other.shape or not np.array_equal(result, other)


def test_what_decides_no_pixel_of_an_image_arrives(photo, tiny_bundle, tmp_path):
    model, target = tiny_bundle.path, tmp_path / "a.png"
    plain = by_command(photo, target, model)
    assert np.array_equal(plain, by_command(photo, target, model, "--batch", "1", "--device", "cpu"))
    assert "already exists" in run("image", photo, "-o", target, "--model", model, code=1)
    assert "batch" in run("image", photo, "-o", target, "--model", model, "--batch", "0", code=2)
    assert "'cuda:7' cannot be used" in run("image", photo, "-o", tmp_path / "x.png", "--device", "cuda:7", code=1)
    assert "tag" in run("image", photo, "-o", tmp_path / "x.png", "--model", model, "--prompt-mode", "tags", code=1)
    assert "use --model lite" in run("image", photo, "-o", tmp_path / "x.png", "--model", model, "--fast", code=1)
    words = ["--model", model, "--engine", "openvino"]
    assert "the embedded kind only" in run("image", photo, "-o", tmp_path / "x.png", *words, code=1)
    facts = json.loads(run("image", photo, "-o", tmp_path / "j.png", "--model", model, "--json").splitlines()[-1])
    assert facts["target"] == str(tmp_path / "j.png")
    sized = by_command(photo, tmp_path / "s.png", model, "--size", "100x90")
    expected = upscale_image(np.asarray(Image.open(photo)), model=str(model), size="100x90")
    assert sized.shape == (90, 100, 3) and np.array_equal(sized, expected)
    fast, other = by_command(photo, tmp_path / "f.png", "lite", "--fast"), by_command(photo, tmp_path / "o.png", "lite")
    assert fast.shape == other.shape and not np.array_equal(fast, other)
    assert other.shape == plain.shape and not np.array_equal(other, plain)


def test_maps_of_uncertainty_depend_on_draws_and_seed(photo, tiny_bundle, tmp_path):
    maps = {}
    for label, words in {"plain": [], "draws": ["--draws", "3"], "seed": ["--seed", "9"], "again": []}.items():
        words = ["--uncertainty", tmp_path / f"{label}.png", "--scale", "2", "--draws", "2", *words]
        by_command(photo, tmp_path / "a.png", tiny_bundle.path, *words)
        maps[label] = np.asarray(Image.open(tmp_path / f"{label}.png"))
    assert np.array_equal(maps["plain"], maps["again"])
    assert all(not np.array_equal(maps["plain"], maps[label]) for label in ("draws", "seed"))


# ---- upscale: pixels or container, by VideoOptions and Encoding
VIDEO = {
    "--start": (["--start", "0.1"], {"video": {"start_s": Fraction(1, 10)}}),
    "--end": (["--end", "0.2"], {"video": {"end_s": Fraction(1, 5)}}),
    "--temporal": (["--temporal", "off"], {"video": {"temporal": "off"}}),
    "--temporal-strength": (["--temporal-strength", "0.2"], {"video": {"temporal_strength": 0.2}}),
    "--size": (["--size", "300x100"], {"video": {"size": "300x100"}}),
    "--scale": (["--scale", "3"], {"options": {"scale": 3.0}}),
    "--strength": (["--strength", "0.3"], {"options": {"strength": 0.3}}),
    "--adaptive": (["--adaptive"], {"options": {"adaptive": True}}),
    "--color-fix": (["--color-fix", "adain"], {"options": {"color_fix": "adain"}}),
    "--keep-tones": (["--keep-tones"], {"options": {"keep_tones": True}}),
    "--fast": (["--fast"], {"options": {"fast": True}}),
    "--codec": (["--codec", "x265"], {"encoding": {"codec": "x265"}}),
    "--crf": (["--crf", "40"], {"encoding": {"crf": 40.0}}),
    "--preset": (["--preset", "ultrafast"], {"encoding": {"preset": "ultrafast"}}),
    "--pix-fmt": (["--pix-fmt", "yuv444p"], {"encoding": {"pix_fmt": "yuv444p"}}),
    "--encoder-option": (["--encoder-option", "g=2"], {"encoding": {"options": {"g": "2"}}}),
}


def packets(path):
    with av.open(str(path)) as container:
        return [(packet.pts, packet.is_keyframe, bytes(packet)) for packet in container.demux(video=0) if packet.size]


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """A clip with noise, that every blend changes, and large enough for an encoder that decides the same again."""
    draw = np.random.default_rng(1)
    images = [np.clip(sample_image(n, 96, 256) + draw.integers(-20, 20, (96, 256, 3)), 0, 255).astype(np.uint8)
              for n in range(6)]  # fmt: skip
    path = tmp_path_factory.mktemp("moving") / "in.mkv"
    return write_video(path, [40 * n for n in range(6)], time_base=Fraction(1, 1000), images=images,
                       size=(96, 256), last_duration=40)  # fmt: skip


@pytest.fixture(scope="module")
def unchanged(moving, tmp_path_factory):
    target = tmp_path_factory.mktemp("plain") / "out.mkv"
    run("upscale", moving, "-o", target, "--model", "lite", "--scale", "1")
    return packets(target)


@pytest.mark.parametrize("name", some_quickly(VIDEO, "--start", "--temporal", "--crf", "--pix-fmt"))
def test_options_of_upscale_arrive(name, moving, unchanged, tmp_path):
    words, values = VIDEO[name]
    run("upscale", moving, "-o", tmp_path / "a.mkv", "--model", "lite", "--scale", "1", *words)
    upscale(
        moving,
        tmp_path / "b.mkv",
        model="lite",
        options=UpscaleOptions(**{"scale": 1.0} | values.get("options", {})),
        video=VideoOptions(**values.get("video", {})),
        encoding=Encoding(**values.get("encoding", {})),
    )
    assert [(f.pts, f.image.tobytes()) for f in read(tmp_path / "a.mkv")] == [
        (f.pts, f.image.tobytes()) for f in read(tmp_path / "b.mkv")
    ]
    one, two = probe(tmp_path / "a.mkv"), probe(tmp_path / "b.mkv")
    assert (one.codec, one.pix_fmt) == (two.codec, two.pix_fmt)
    assert [p[:2] for p in packets(tmp_path / "a.mkv")] == [p[:2] for p in packets(tmp_path / "b.mkv")]
    assert packets(tmp_path / "a.mkv") != unchanged


def test_the_library_has_the_commands_defaults(moving, unchanged, tmp_path):
    upscale(moving, tmp_path / "b.mkv", model="lite", scale=1)
    assert [p[:2] for p in packets(tmp_path / "b.mkv")] == [p[:2] for p in unchanged]
    assert UpscaleOptions() == UpscaleOptions(**{
        one.name: one.default for one in cli.get_command(click.Context(cli), "upscale").params
        if one.name in UpscaleOptions.__dataclass_fields__ and one.name != "scale" and one.default is not None
        and not callable(one.default) and "Sentinel" not in type(one.default).__name__
    })  # fmt: skip


OTHER_VIDEO = {
    "--output", "--overwrite", "--restart", "--strict", "--json", "--preset-file", "--model", "--device", "--precision",
    "--prompt", "--prompt-mode", "--negative-prompt", "--guidance", "--lora-scale", "--batch", "--tile", "--fps",
    "--deinterlace", "--keep-rotation", "--allow-damaged", "--flow", "--cuts", "--shots", "--pipe-format",
    "--uncertainty", "--draws", "--seed", "--engine", "--on-done", "--segments", "--allow-mixed", "--workers",
    "--cluster", "--worker-cores", "--ship-input", "--allow-public", "--tiny-decoder", "--compile",
    "--realtime", "--latency",
}  # fmt: skip
"""Shared with `image` by one definition, or tested by what they read and write: test_cli, test_in_time, test_job,
test_shot_list, test_watch, test_wiring.
"""


def test_every_option_of_upscale_has_a_row():
    assert option_names("upscale") == set(VIDEO) | OTHER_VIDEO


@pytest.mark.parametrize("rate", ["10", "30000/1001"])
def test_the_rate_of_a_folder_arrives(rate, tmp_path):
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.fromarray(sample_image(number)).save(tmp_path / "frames" / f"{number}.png")
    run("upscale", tmp_path / "frames", "-o", tmp_path / "out.mov", "--scale", "1", "--fps", rate)
    times = [frame.pts * probe(tmp_path / "out.mov").time_base for frame in read(tmp_path / "out.mov")]
    assert times == [n / Fraction(rate) for n in range(3)]
