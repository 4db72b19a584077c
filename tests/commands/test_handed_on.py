"""Commands hand on what was asked, refuse before the model is loaded, and end with the right exit code."""

import json
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from cli.eval import find_estimator
from cli.jobs.interrupt import one_interrupt
from cli.jobs.progress import JsonTeller
from cli.jobs.sources import sources_below
from cli.main import cli
from image_core.errors import MediaError
from image_core.options import Draws, UpscaleOptions
from osediff_video import Encoding, VideoOptions
from osediff_video.media.verify import Verification
from osediff_video.metrics.video import dense_flow
from osediff_video.plain_resize import PlainResize
from osediff_video.run import Result
from osediff_video.types import Faults
from tests.commands.test_cli import run
from tests.support.media_files import sample_image, write_video


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mp4", [512 * n for n in range(7)], size=(16, 24))


@pytest.fixture
def loaded(monkeypatch):
    """A plain resize stands for every model; what was asked of the loader."""
    asked = []

    def load(model, options, **named):
        asked.append((model, options, named.pop("device", None), named.pop("precision", None)))
        return PlainResize(options.scale)

    monkeypatch.setattr("osediff_video.api.load_upscaler", load)
    return asked


@pytest.fixture
def no_model(monkeypatch):
    def load(*_, **__):
        raise AssertionError("a model of gigabytes was loaded first")

    monkeypatch.setattr("osediff_video.api.load_upscaler", load)


def test_upscale_hands_on_what_was_asked(video, tmp_path, loaded, monkeypatch):
    planned, done = [], []

    def plan_run(*words, **named):
        planned.append((words, named))
        return "the plan", None

    def upscale_planned(*words, **named):
        done.append((words, named))
        return Result(tmp_path / "out.mkv", 7, 0, 1.0, (), Faults(), None)

    monkeypatch.setattr("osediff_video.job.finished.plan_run", plan_run)
    monkeypatch.setattr("osediff_video.run.upscale_planned", upscale_planned)
    run("upscale", video, "-o", tmp_path / "out.mkv", "--restart", "--overwrite", "--model", "lite", "--device", "cpu",
        "--precision", "bf16", "--scale", 3, "--strength", 0.4, "--temporal", "off", "--crf", 20, "--preset", "slow",
        "--pix-fmt", "yuv444p", "--codec", "x265", "--encoder-option", "g=5")  # fmt: skip
    assert loaded == [("lite", UpscaleOptions(scale=3.0, strength=0.4), "cpu", "bf16")]
    how, options = Encoding("x265", 20.0, "slow", "yuv444p", {"g": "5"}), VideoOptions(temporal="off")
    flags = {"restart": True, "overwrite": True}
    assert planned[0] == ((video, tmp_path / "out.mkv", 3.0, how, options), flags)
    assert done[0][0][0] == "the plan" and done[0][0][2] is None and done[0][1]["restart"]
    run("upscale", video, "-o", tmp_path / "out.mkv")
    flags = {"restart": False, "overwrite": False}
    assert planned[1] == ((video, tmp_path / "out.mkv", 4.0, Encoding(), VideoOptions()), flags)
    assert not done[1][1]["restart"]


@pytest.mark.usefixtures("loaded")
def test_one_failure_among_several_is_an_exit_code(video, tmp_path, monkeypatch):
    other = write_video(tmp_path / "other.mp4", [512 * n for n in range(7)], size=(16, 24))

    def upscale_planned(plan, *_, **__):
        if plan.path == video:
            raise MediaError(f"{plan.path}: its frames are gone")
        return Result(plan.target, 7, 0, 1.0, (), Faults(), None)

    monkeypatch.setattr("osediff_video.run.upscale_planned", upscale_planned)
    (tmp_path / "out").mkdir()
    output = run("upscale", video, other, "-o", tmp_path / "out", code=1)
    assert "its frames are gone" in output and f"{tmp_path / 'out' / 'other_x4.mp4'}: 7 frames" in output
    assert run("upscale", video, "-o", tmp_path / "x.mp4", code=1) == f"Error: {video}: its frames are gone\n"
    run("upscale", other, "-o", tmp_path / "x.mp4", code=0)
    Image.fromarray(sample_image(0, 16, 16)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    output = run("image", tmp_path / "bad.png", tmp_path / "good.png", "-o", tmp_path / "out", code=1)
    assert "1 of 2 images failed" in output and (tmp_path / "out" / "good_x4.png").exists()


@pytest.mark.usefixtures("loaded")
def test_a_stopped_command_says_so_and_fails(video, tmp_path, monkeypatch):
    def upscale_planned(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("osediff_video.run.upscale_planned", upscale_planned)
    assert "stopped; finished segments are kept" in run("upscale", video, "-o", tmp_path / "out.mkv", code=1)


@pytest.mark.usefixtures("no_model")
def test_a_target_is_refused_before_the_model_is_loaded(video, tmp_path):
    (tmp_path / "out.mkv").write_text("theirs")
    assert "--overwrite" in run("upscale", video, "-o", tmp_path / "out.mkv", code=1)
    assert (tmp_path / "out.mkv").read_text() == "theirs"


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize("option", ["--cuts", "--shots", "--flow"])
def test_named_files_are_read_before_the_model_is_loaded(video, tmp_path, option):
    assert "none.txt: no such file" in run("upscale", video, option, tmp_path / "none.txt", code=1)


@pytest.mark.usefixtures("loaded")
def test_an_image_keeps_what_its_file_held(tmp_path):
    """Transparency, colour profile and text, and no dark ring around what is visible."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.zeros((24, 32, 4), np.uint8)
    pixels[8:16, 8:24] = (200, 100, 50, 255)
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "ours")
    Image.fromarray(pixels).save(tmp_path / "in.png", icc_profile=profile, pnginfo=text)
    run("image", tmp_path / "in.png", "-o", tmp_path / "out.png", "--scale", 2)
    with Image.open(tmp_path / "out.png") as opened:
        assert opened.mode == "RGBA" and opened.size == (64, 48)
        assert opened.info["icc_profile"] == profile and opened.text["Title"] == "ours"
        result = np.asarray(opened).astype(int)
    visible = result[..., 3] > 0
    assert visible.sum() > 16 * 32 and np.abs(result[visible][:, :3] - (200, 100, 50)).max() <= 1


@pytest.mark.usefixtures("loaded")
def test_maps_of_an_image_are_drawn_as_asked(tmp_path, monkeypatch):
    drawn, written = [], []
    monkeypatch.setattr("image_core.draws.uncertainty.spread", lambda *words: drawn.append(words[2]) or "measured")
    monkeypatch.setattr("osediff_video.images.uncertainty_maps.write_map", lambda *words: written.append(words))
    Image.fromarray(sample_image(0, 16, 16)).save(tmp_path / "in.png")
    words = ("--uncertainty", tmp_path / "map.png", "--draws", 3, "--seed", 9)
    run("image", tmp_path / "in.png", "-o", tmp_path / "out.png", *words)
    assert drawn == [Draws(3, 9)] and written[0][0] == tmp_path / "map.png"


@pytest.mark.usefixtures("loaded")
def test_hidden_files_are_left_alone(tmp_path):
    folder = tmp_path / "in"
    (folder / ".trash").mkdir(parents=True)
    for name in ("a.png", ".b.png", ".trash/c.mp4", "d.mp4"):
        Image.fromarray(sample_image(0, 16, 16)).save(folder / "a.png") if name == "a.png" else None
        (folder / name).touch()
    Image.fromarray(sample_image(0, 16, 16)).save(folder / ".b.png")
    run("image", folder, "-o", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_x4.png"]
    assert list(sources_below(folder, tmp_path / "root")) == [folder / "d.mp4"]


def test_own_results_are_no_sources(tmp_path):
    for name in ("a.mp4", "results/a_x4.mp4", "b.mp4.osediff/00000.mkv", "inner/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = sources_below(tmp_path, tmp_path / "results")
    assert list(found) == [tmp_path / "a.mp4", tmp_path / "inner" / "c.mp4"]


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(("command", "suffix"), [("upscale", ".mp4"), ("image", ".png")])
def test_no_two_results_share_a_name(tmp_path, command, suffix):
    for folder in ("one", "two", "out"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a{suffix}").write_text("anything")
    sources = [tmp_path / folder / f"a{suffix}" for folder in ("one", "two")]
    assert "would both be written to" in run(command, *sources, "-o", tmp_path / "out", code=2)


def test_models_import_and_pull_hand_on_what_was_asked(tmp_path, monkeypatch):
    made, pulled = [], []
    done = SimpleNamespace(path=tmp_path / "made")
    monkeypatch.setattr("image_core.models.official.make_bundle", lambda *w, **n: made.append((w, n)) or done)
    monkeypatch.setattr("image_core.models.downloads.pull", lambda *w, **n: pulled.append((w, n)) or done)
    out = tmp_path / "out"
    names = ("base", "weights", "vae", "tokenizer", "tagger", "dape", "tiny_decoder")
    parts = {name: tmp_path / name for name in names}
    words = [word for name, path in parts.items() for word in (f"--{name.replace('_', '-')}", path)]
    run("models", "import", *words, "--half", "--merge", "--prompt", "a cat", "-o", out)
    ((given, named),) = made
    assert vars(given[0]) == parts and given[1] == out
    assert named == {"merge": True, "prompts": ("a cat",), "half": True}
    run("models", "pull", "sd21", "--tagger", "--offline", "--prompt", "a cat", "-o", out)
    ((given, named),) = pulled
    report = named.pop("report")
    assert callable(report) and given == ("sd21", out)
    assert named == {"tagger": True, "merge": False, "prompts": ("a cat",), "offline": True}


def test_a_damaged_model_is_an_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr("image_core.models.catalogue.models_folder", lambda: tmp_path)
    run("models", "verify", "lite", code=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bundle.json").write_text("{}")
    assert "mine" in run("models", "verify", "mine", "lite", code=1)
    output = run("doctor", code=1)
    assert "PROBLEM: " in output and "mine" in output


@pytest.mark.usefixtures("loaded")
def test_a_preview_begins_where_it_was_asked(video, monkeypatch):
    asked = []

    def make_sample(*words):
        asked.append(words)
        raise MediaError("enough")

    monkeypatch.setattr("osediff_video.workflow.preview.make_sample", make_sample)
    run("preview", video, "--at", "0.1", "--seconds", "2", "--crf", "20", "--temporal", "off", code=1)
    source, _, _, how, options, at_s, seconds, _ = asked[0]
    assert (source, at_s, seconds) == (video, Fraction(1, 10), 2)
    assert (how, options) == (Encoding(crf=20.0), VideoOptions(temporal="off"))


def test_probe_plans_what_upscale_would_make(video, tmp_path, monkeypatch):
    asked = []

    def plan_video(*words):
        asked.append(words)
        raise MediaError("enough")

    monkeypatch.setattr("osediff_video.plan.plan_video", plan_video)
    run("probe", video, "-o", tmp_path / "o.mkv", "--scale", "3", "--crf", "20", "--end", "5", "--strict", code=1)
    options = VideoOptions(end_s=Fraction(5), strict=True)
    assert asked == [(video, tmp_path / "o.mkv", 3.0, Encoding(crf=20.0), options)]


def test_events_tell_the_truth(capsys):
    check = Verification(7, 7, Fraction(1, 500), Fraction(1, 1000), Fraction(0), Fraction(3, 1000))
    faults = Faults(repeated=[5], lost=[1, 2], cut_short="at 1 s")
    JsonTeller(Path("in.mp4")).done(Result(Path("out.mp4"), 7, 2, 1.5, ("a note",), faults, check))
    facts = json.loads(capsys.readouterr().out)
    expected = {
        "event": "done", "frames": 7, "resumed": 2, "complete": False, "verified": False, "notes": ["a note"],
        "largest_time_error_ms": 2.0, "sound_error_ms": 3.0, "elapsed_s": 1.5,
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    assert (facts["damage"]["repeated"], facts["damage"]["lost"], facts["damage"]["cut_short"]) == (1, 2, "at 1 s")


@pytest.mark.parametrize("name", ["upscale", "preview", "probe", "image"])
def test_the_defaults_of_commands_are_the_library_s(name):
    """None is "not said", for which the library's own default stands."""
    values = cli.get_command(None, name).make_context(name, ["a.mp4"]).params
    for kind in (UpscaleOptions, VideoOptions):
        for field, expected in vars(kind()).items():
            if values.get(field) is not None:
                assert values[field] == expected, field
    assert all(values[field] is None for field in ("codec", "crf", "preset", "pix_fmt") if field in values)


def test_train_hands_on_what_was_asked(tmp_path, monkeypatch):
    planned, trained, exported = [], [], []
    one = SimpleNamespace(folder=tmp_path / "run", recipe=SimpleNamespace(loop=SimpleNamespace(steps=9)))

    def train_runs(runs, _, minutes):
        trained.append((runs, minutes))
        yield one, reached

    monkeypatch.setattr("train.runs.plan_runs", lambda *words: planned.append(words) or [one])
    monkeypatch.setattr("train.runs.train_runs", train_runs)
    monkeypatch.setattr("train.export.check_export", lambda *_: None)
    monkeypatch.setattr("train.export.export_run", lambda *words: exported.append(words) or words[2])
    recipe = tmp_path / "tiny.toml"
    recipe.touch()
    words = ("--set", "loop.steps=9", "--minutes", "2", "-o", tmp_path / "run", "--export", tmp_path / "bundle")
    reached = 5
    assert "stopped at step 5 of 9" in run("train", recipe, *words, "--commit", "abc") and not exported
    reached = 9
    run("train", recipe, *words, "--commit", "abc")
    assert planned[0] == ((recipe,), ("loop.steps=9",), tmp_path / "run") and trained[0] == ([one], 2.0)
    assert exported == [(one.folder, one.recipe, tmp_path / "bundle", "abc", None)]


def test_a_table_is_not_replaced_unasked(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(sample_image(0, 16, 16)).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text("theirs")
    words = ("eval", tmp_path / "a.png", tmp_path / "b.png", "--csv", tmp_path / "t.csv")
    assert "--overwrite" in run(*words, code=1) and (tmp_path / "t.csv").read_text() == "theirs"


def test_eval_takes_the_motion_asked_for(monkeypatch):
    monkeypatch.setattr("osediff_video.temporal.raft.load_raft", lambda path: f"raft of {path}")
    assert find_estimator("dis") is dense_flow and find_estimator("x.pth") == "raft of x.pth"


def test_compare_shows_the_first_on_the_left(tmp_path, video, monkeypatch):
    for name, grey in (("a", 50), ("b", 150)):
        Image.fromarray(np.full((8, 12, 3), grey, np.uint8)).save(tmp_path / f"{name}.png")
    run("compare", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "c.png")
    shown = np.asarray(Image.open(tmp_path / "c.png"))
    assert shown.shape == (8, 24, 3) and (shown[:, :12] == 50).all() and (shown[:, 12:] == 150).all()
    asked = []

    def open_comparison(*words):
        asked.append(words)
        raise MediaError("enough")

    monkeypatch.setattr("osediff_video.sources.comparison.open_comparison", open_comparison)
    other = write_video(tmp_path / "other.mp4", [512 * n for n in range(7)], size=(16, 24))
    run("compare", video, other, "-o", tmp_path / "c.mp4", "--layout", "wipe", code=1)
    assert asked == [(video, other, "wipe")]


def test_mixing_takes_the_share_of_the_second(tmp_path, monkeypatch):
    mixed = []

    def mix_models(*words):
        mixed.append(words)
        return SimpleNamespace(path=tmp_path / "out")

    monkeypatch.setattr("image_core.models.mixing.mix_models", mix_models)
    run("models", "mix", "lite", "lite-faithful", "--share", "0.25", "-o", tmp_path / "out")
    first, second, share, out, card = mixed[0]
    assert (first.config.name, second.config.name, share, out) == ("lite", "lite-faithful", 0.25, tmp_path / "out")
    assert card is None


@pytest.mark.usefixtures("loaded")
def test_a_preview_shows_the_same_part_of_the_input(video, monkeypatch):
    asked, part = [], VideoOptions(start_s=Fraction(1, 10))

    def open_comparison(*words):
        asked.append(words)
        raise MediaError("enough")

    monkeypatch.setattr("osediff_video.workflow.preview.make_sample", lambda *_: SimpleNamespace(part=part))
    monkeypatch.setattr("osediff_video.sources.comparison.open_comparison", open_comparison)
    run("preview", video, code=1)
    assert asked[0][0] == video and asked[0][2:] == ("side", part)


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread")
def test_pressing_ctrl_c_twice_at_once_is_one_wish(monkeypatch):
    ended, usual = [], signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("cli.jobs.interrupt.os._exit", ended.append)
    try:
        with one_interrupt():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert not ended
            monkeypatch.setattr("cli.jobs.interrupt.time.monotonic", lambda: time.time() + 1e9)
            signal.raise_signal(signal.SIGINT)  # much later it means that stopping takes too long
            assert ended == [130]
    finally:
        signal.signal(signal.SIGINT, usual)


def test_probe_names_the_model_that_would_run(video, monkeypatch):
    asked = []

    def choose_model(*words, **_):
        asked.append(words)
        raise MediaError("enough")

    monkeypatch.setattr("image_core.models.choice.choose_model", choose_model)
    run("probe", video, "--model", "lite", "--device", "cuda:7", "--precision", "bf16", code=1)
    assert asked == [("lite", "cuda:7", "bf16")]
