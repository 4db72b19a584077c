"""Every option of every command reaches the library, alone, under the right name and in the right unit.

What the library is called with is recorded, without the work: with the option exactly one of its arguments changes, to
the value of the option. That the library means what it is told is tested where the library is.
"""

import json
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.main import cli
from tests.support.media_files import write_video


def commands(group, words=()):
    """Yield the words and the command of every leaf."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


OPTIONS = {
    words: {max(one.opts, key=len) for one in command.params if isinstance(one, click.Option)}
    for words, command in commands(cli)
}


class WorkBeginsError(Exception):
    """Ends a command where its work would begin."""


def flat(value, name=""):
    """Return every plain value in a call by its dotted name."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            key: one
            for field in fields(value)
            for key, one in flat(getattr(value, field.name), f"{name}.{field.name}").items()
        }
    return {name: value}


def recorder(calls, label, names, ends=False, result=None):
    """Return a function that records its arguments, the positional ones under `names`."""

    def function(*arguments, **named):
        given = dict(zip(names, arguments, strict=False)) | named
        for key, value in given.items():
            if not callable(value):
                calls.update(flat(value, f"{label}.{key}"))
        if ends:
            raise WorkBeginsError
        return result

    return function


# ---- what the options that several commands share become, and the commands that have more of their own
MODEL_CALL, VIDEO, ENCODING = "load.options", "run.options", "run.encoding"


@dataclass(frozen=True)
class Row:
    """Words to add, and what they change: {dotted name: value}."""

    words: list
    changes: dict


def model(field, value):
    return {f"{MODEL_CALL}.{field}": value}


def video(field, value):
    return {f"{VIDEO}.{field}": value}


SHARED = {
    "--scale": Row(["--scale", "3"], model("scale", 3.0)),
    "--strength": Row(["--strength", "0.4"], model("strength", 0.4)),
    "--adaptive": Row(["--adaptive"], model("adaptive", True)),
    "--guidance": Row(["--guidance", "3"], model("guidance", 3.0)),
    "--negative-prompt": Row(
        ["--guidance", "3", "--negative-prompt", "blurry"], model("negative_prompt", "blurry") | model("guidance", 3.0)
    ),
    "--lora-scale": Row(["--lora-scale", "0.2"], model("lora_scale", 0.2)),
    "--color-fix": Row(["--color-fix", "adain"], model("color_fix", "adain")),
    "--keep-tones": Row(["--keep-tones"], model("keep_tones", True)),
    "--prompt": Row(["--prompt", "a cat"], model("prompt", "a cat")),
    "--prompt-mode": Row(["--prompt-mode", "fixed"], model("prompt_mode", "fixed")),
    "--batch": Row(["--batch", "3"], model("batch", 3)),
    "--tile": Row(["--tile", "256"], model("tile_px", 256)),
    "--tiny-decoder": Row(["--tiny-decoder", "TINY"], model("tiny_decoder", "TINY")),
    "--compile": Row(["--compile"], model("compile", True)),
    "--fast": Row(["--fast"], model("fast", True)),
    "--model": Row(["--model", "other"], {"load.model": "other"}),
    "--device": Row(["--device", "cuda:1"], {"load.device": "cuda:1"}),
    "--engine": Row(["--engine", "openvino"], {"load.engine": "openvino"}),
    "--precision": Row(["--precision", "bf16"], {"load.precision": "bf16"}),
    "--size": Row(["--size", "300x100"], video("size", "300x100")),
    "--start": Row(["--start", "1:02.5"], video("start_s", Fraction(125, 2))),
    "--end": Row(["--end", "2:00"], video("end_s", Fraction(120))),
    "--fps": Row(["--fps", "30000/1001"], video("fps", Fraction(30000, 1001))),
    "--deinterlace": Row(["--deinterlace", "on"], video("deinterlace", "on")),
    "--keep-rotation": Row(["--keep-rotation"], video("keep_rotation", True)),
    "--allow-damaged": Row(["--allow-damaged"], video("allow_damaged", True)),
    "--temporal": Row(["--temporal", "latent"], video("temporal", "latent")),
    "--temporal-strength": Row(["--temporal-strength", "0.2"], video("temporal_strength", 0.2)),
    "--flow": Row(["--flow", "RAFT"], video("flow", "RAFT")),
    "--cuts": Row(["--cuts", "off"], video("cuts", "off")),
    "--shots": Row(["--shots", "SHOTS"], video("shots", "SHOTS")),
    "--strict": Row(["--strict"], video("strict", True)),
    "--pipe-format": Row(["--pipe-format", "nut"], video("pipe_format", "nut")),
    "--realtime": Row(["--realtime"], video("realtime", True)),
    "--latency": Row(["--realtime", "--latency", "2"], video("latency_s", 2.0) | video("realtime", True)),
    "--uncertainty": Row(["--uncertainty", "MAPS"], video("uncertainty", "MAPS")),
    "--draws": Row(["--draws", "3"], video("draws", 3)),
    "--seed": Row(["--seed", "9"], video("seed", 9)),
    "--codec": Row(["--codec", "x265"], {f"{ENCODING}.codec": "x265"}),
    "--crf": Row(["--crf", "40"], {f"{ENCODING}.crf": 40.0}),
    "--preset": Row(["--preset", "slow"], {f"{ENCODING}.preset": "slow"}),
    "--pix-fmt": Row(["--pix-fmt", "yuv444p"], {f"{ENCODING}.pix_fmt": "yuv444p"}),
    "--encoder-option": Row(["--encoder-option", "g=2"], {f"{ENCODING}.options": {"g": "2"}}),
    "--overwrite": Row(["--overwrite"], {"run.overwrite": True}),
    "--output": Row(["--output", "OTHER.mkv"], {"run.target": Path("OTHER.mkv")}),
    "--restart": Row(["--restart"], {"run.restart": True}),
    "--at": Row(["--at", "0.5"], {"run.at_s": Fraction(1, 2)}),
    "--seconds": Row(["--seconds", "2.5"], {"run.seconds": Fraction(5, 2)}),
}
PRINTED = {"--json"}
"""Changes what is said, not what is done; tested with what is said."""

OF_RESULTS = {"--on-done"}
"""Begins when the work has ended; tests/video/test_watch.py."""

OF_FILES = {"--preset-file"}
"""Changes the defaults of all others; tests/commands/test_presets.py."""

OF_A_FARM = {
    "--segments",
    "--allow-mixed",
    "--workers",
    "--cluster",
    "--worker-cores",
    "--ship-input",
    "--allow-public",
}
"""Leave the way of `upscale_video`; tested below."""

NOT_OF_PREVIEW = {"--output", "--overwrite"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a video and the files that options name, as the working folder."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "in.mkv", [0, 40], time_base=Fraction(1, 1000), last_duration=40)
    (tmp_path / "RAFT").write_bytes(b"weights")
    (tmp_path / "SHOTS").write_text('[[shot]]\nstart = 0\nprompt = "a"\n')
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / "in.png")
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(tmp_path / "two.png")
    (tmp_path / "card.json").write_text('{"limits": "none"}')
    return tmp_path


def invoke(*words, code=None):
    outcome = CliRunner().invoke(cli, [str(word) for word in words])
    if code is not None:
        assert outcome.exit_code == code, outcome.output
    elif not isinstance(outcome.exception, WorkBeginsError):
        raise AssertionError(outcome.output) from outcome.exception
    return outcome.output


def record(monkeypatch, *words):
    """Return what the library is called with by a command that upscales, previews or plans."""
    calls = {}
    load = recorder(calls, "load", ("model", "options"), result="the upscaler")
    monkeypatch.setattr("osediff_video.api.load_upscaler", load)
    of_plan = ("source", "target", "scale", "encoding", "options")
    planned = recorder(calls, "run", of_plan, result=("the plan", None))
    monkeypatch.setattr("osediff_video.job.finished.plan_run", planned)
    of_run = recorder(calls, "run", ("plan", "upscaler", "finished"), ends=True)
    monkeypatch.setattr("osediff_video.run.upscale_planned", of_run)
    words_of_run = ("source", "target", "upscaler", "encoding", "options")
    for farm in ("planning.plan_job", "stretch.make_stretch"):
        monkeypatch.setattr(f"osediff_video.farm.{farm}", recorder(calls, "run", words_of_run, ends=True))
    sample = ("source", "file", "upscaler", "encoding", "options", "at_s", "seconds", "progress")
    monkeypatch.setattr("osediff_video.workflow.preview.make_sample", recorder(calls, "run", sample, ends=True))
    monkeypatch.setattr(
        "image_core.models.choice.choose_model", recorder(calls, "load", ("model", "device", "precision"))
    )
    monkeypatch.setattr("osediff_video.plan.plan_video", recorder(calls, "run", of_plan, ends=True))
    invoke(*words)
    return {key: value for key, value in calls.items() if key != "run.file"}  # of a temporary folder


def difference(before, after):
    return {key: after.get(key) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.parametrize("command", ["upscale", "preview", "probe", "plan"])
@pytest.mark.usefixtures("here")
def test_every_shared_option_reaches_the_library(command, monkeypatch):
    before = record(monkeypatch, command, "in.mkv", "--scale", "2")
    missing = OPTIONS[command] - set(SHARED) - PRINTED - OF_FILES - OF_A_FARM - OF_RESULTS
    assert not missing, f"{command}: no row for {missing}"
    for option in sorted(OPTIONS[command] & set(SHARED)):
        row = SHARED[option]
        if command == "preview" and option in NOT_OF_PREVIEW:
            continue
        after = record(monkeypatch, command, "in.mkv", "--scale", "2", *row.words)
        changes = dict(row.changes)
        if command == "probe":  # loads no model: of its options only the scale and which one decide the plan
            changes = {"run.scale" if key == f"{MODEL_CALL}.scale" else key: value for key, value in changes.items()}
            changes = {key: value for key, value in changes.items() if not key.startswith(MODEL_CALL)}
            if option == "--fast":  # which has an engine of its own, as it was measured
                changes["load.fast"] = True
        changed = difference(before, after)
        if command == "upscale":  # planned before the model is loaded, with the same scale
            assert changed.pop("run.scale", None) == changed.get(f"{MODEL_CALL}.scale")
        for name in ("scale", "size"):  # part of the default name
            if option == f"--{name}":
                changed.pop("run.target", None)
                changed.pop(f"{MODEL_CALL}.scale", None) if name == "size" else None
                changed.pop("run.scale", None) if name == "size" else None
        assert changed == changes, f"{command} {option}"


@pytest.mark.usefixtures("here")
def test_options_for_several_processes_reach_the_library(monkeypatch):
    before = record(monkeypatch, "upscale", "in.mkv", "--scale", "2", "--segments", "0-3")
    assert before["run.segments"] == range(4) and before["run.mixed"] is False and "run.restart" not in before
    after = record(monkeypatch, "upscale", "in.mkv", "--scale", "2", "--segments", "7", "--allow-mixed")
    assert difference(before, after) == {"run.segments": range(7, 8), "run.mixed": True}
    for words in (
        ["--allow-mixed"],
        ["--segments", "1", "--restart"],
        ["in.png", "--segments", "1"],
        ["--segments", "1", "--workers", "2"],
        ["--worker-cores", "2"],
        ["--workers", "2", "--ship-input"],
        ["--workers", "2", "--allow-public"],
    ):
        assert "Usage:" in invoke("upscale", "in.mkv", *words, code=2)


@pytest.mark.usefixtures("here")
def test_options_for_workers_reach_the_library(monkeypatch):
    def call(*words):
        calls = {}
        names = ("pairs", "choice", "encoding", "options", "settings")
        monkeypatch.setattr("osediff_video.farm.driver.upscale_batch", recorder(calls, "run", names, ends=True))
        invoke("upscale", "in.mkv", "--scale", "2", *words)
        return {name: value for name, value in calls.items() if not name.startswith("run.tell")}

    before = call("--cluster", "auto")
    assert before["run.settings.cluster"] == "auto" and before["run.choice.options.scale"] == 2
    for words, changes in (
        (["--workers", "3"], {"run.settings.workers": 3}),
        (["--worker-cores", "2"], {"run.settings.cores": 2}),
        (["--ship-input"], {"run.settings.ship_input": True}),
        (["--allow-public"], {"run.settings.public": True}),
        (["--allow-mixed"], {"run.settings.mixed": True}),
        (["--restart"], {"run.restart": True}),
        (["--overwrite"], {"run.overwrite": True}),
        (["--model", "other"], {"run.choice.model": "other"}),
        (["--device", "cpu"], {"run.choice.device": "cpu"}),
        (["--precision", "bf16"], {"run.choice.precision": "bf16"}),
        (["--engine", "openvino"], {"run.choice.engine": "openvino"}),
        (["--crf", "40"], {"run.encoding.crf": 40.0}),
        (["--temporal", "off"], {"run.options.temporal": "off"}),
    ):
        assert difference(before, call("--cluster", "auto", *words)) == changes
    assert call("--workers", "2")["run.settings.cluster"] is None


@pytest.mark.usefixtures("here")
def test_every_option_of_assemble_reaches_the_library(monkeypatch):
    def call(*words):
        calls = {}
        monkeypatch.setattr("osediff_video.farm.joining.assemble_job", recorder(calls, "call", ("target",), ends=True))
        invoke("assemble", "out.mkv", *words)
        return calls

    assert OPTIONS["assemble"] == {"--source", "--overwrite", "--json"}
    before = call()
    assert before == {"call.target": Path("out.mkv"), "call.source": None, "call.overwrite": False}
    assert difference(before, call("--source", "a.mkv")) == {"call.source": Path("a.mkv")}
    assert difference(before, call("--overwrite")) == {"call.overwrite": True}


def test_preview_writes_where_it_is_told(here, monkeypatch):
    calls = {}
    check = recorder(calls, "check", ("source", "target", "overwrite"), ends=True)
    monkeypatch.setattr("osediff_video.target.check_target", check)
    invoke("preview", "in.mkv")
    assert calls["check.target"] == here / "in_preview.mp4" and calls["check.overwrite"] is False
    invoke("preview", "in.mkv", "--output", "OTHER.mkv", "--overwrite")
    assert calls["check.target"] == Path("OTHER.mkv") and calls["check.overwrite"] is True


# ---- image: what differs from a video
@pytest.mark.usefixtures("here")
def test_every_option_of_image_reaches_the_library(monkeypatch):
    def call(*words):
        calls = {}

        class Upscaler:
            identity, progress = "of a test", None

            def __call__(self, _, shape):
                calls["size"] = shape
                return [np.zeros((*shape, 3), np.uint8)]

        load = recorder(calls, "load", ("model", "options"), result=Upscaler())
        monkeypatch.setattr("osediff_video.api.load_upscaler", load)
        spread = recorder(calls, "spread", ("upscaler", "image", "draws"))
        monkeypatch.setattr("image_core.draws.uncertainty.spread", spread)
        write_map = recorder(calls, "map", ("path", "result"))
        monkeypatch.setattr("osediff_video.images.uncertainty_maps.write_map", write_map)
        write = recorder(calls, "write", ("target", "image"))
        monkeypatch.setattr("osediff_video.images.image_file.write_image", write)
        calls["said"] = invoke("image", "in.png", "--scale", "2", *words, code=0)
        return {key: value for key, value in calls.items() if not isinstance(value, np.ndarray)}

    before = call()
    own = {"--output", "--overwrite", "--json", "--size", "--uncertainty", "--draws", "--seed", "--preset-file"}
    own |= {"--as-published", "--on-done"}  # in test_as_published.py and test_watch.py
    assert OPTIONS["image"] - set(SHARED) - own == set()
    for option in sorted(OPTIONS["image"] - own):
        row = SHARED[option]
        changed = difference(before, call(*row.words))
        if option == "--scale":
            assert changed.pop("size") == (48, 72) and changed.pop("write.target") == Path("in_x3.png")
            changed.pop("said")
        assert changed == row.changes, option
    assert call("--output", "a.tif")["write.target"] == Path("a.tif")
    assert call("--overwrite")["write.overwrite"] is True and before["write.overwrite"] is False
    assert json.loads(call("--json")["said"])["target"] == "in_x2.png"
    assert call("--size", "30x20")["size"] == (20, 30)
    drawn = call("--uncertainty", "map.png", "--draws", "3", "--seed", "9")
    assert drawn["map.path"] == Path("map.png")
    assert (drawn["spread.draws.count"], drawn["spread.draws.seed"]) == (3, 9)


# ---- compare
@pytest.mark.usefixtures("here")
def test_every_option_of_compare_reaches_the_library(monkeypatch):
    def call(*words):
        calls = {}
        monkeypatch.setattr("osediff_video.sources.comparison.open_comparison",
                            recorder(calls, "open", ("first", "second", "layout")))  # fmt: skip
        plan = ("opened", "named", "target", "scale", "encoding")
        monkeypatch.setattr("osediff_video.plan.plan_opened", recorder(calls, "run", plan, ends=True))
        invoke("compare", "in.mkv", "in.mkv", *words)
        return calls

    before = call()
    assert before["run.target"] == Path("in_vs_in.mp4")
    rows = {option: SHARED[option] for option in OPTIONS["compare"] - {"--layout"}}
    rows["--layout"] = Row(["--layout", "wipe"], {"open.layout": "wipe"})
    for option, row in rows.items():
        assert difference(before, call(*row.words)) == row.changes, option


# ---- eval
def test_every_option_of_eval_reaches_the_library(here, monkeypatch):
    def call(first="in.png", *words):
        calls = {}
        find = ("names", "lpips", "niqe")
        monkeypatch.setattr("osediff_video.metrics.table.find_scorers",
                            recorder(calls, "find", find, result=({"psnr": None}, {})))  # fmt: skip
        monkeypatch.setattr("osediff_video.metrics.table.score_pair", lambda *_: {"psnr": 1.0, "odd score": 2.0})
        monkeypatch.setattr("osediff_video.temporal.raft.load_raft", recorder(calls, "raft", ("path",), ends=True))
        words = ["eval", first, "two.png" if first == "in.png" else first, *words]
        calls["said"] = invoke(*words) if "--flow" in words else invoke(*words, code=0)
        return calls

    before = call()
    seen = {"--json", "--csv", "--overwrite", "--paper", "--also", "--lpips", "--niqe", "--flow", "--text"}
    assert OPTIONS["eval"] == seen
    assert json.loads(call("in.png", "--json")["said"])["mean"] == {"psnr": 1.0, "odd score": 2.0}
    call("in.png", "--csv", "table.csv")
    assert "psnr" in (here / "table.csv").read_text()
    assert "already exists" in invoke("eval", "in.png", "two.png", "--csv", "table.csv", code=1)
    call("in.png", "--csv", "table.csv", "--overwrite")
    paper = call("in.png", "--paper")
    assert not paper["find.strict"] and before["find.strict"] and len(paper["find.names"]) > len(before["find.names"])
    assert "odd score" in before["said"] and "odd score" not in paper["said"]
    assert call("in.png", "--also", "musiq")["find.names"] == ["musiq"]
    assert difference(before, call("in.png", "--lpips", "L")) == {"find.lpips": Path("L")}
    assert difference(before, call("in.png", "--niqe", "N")) == {"find.niqe": Path("N"), "find.names": ["niqe"]}
    assert call("in.png", "--text")["find.text"] is True and before["find.text"] is False
    assert call("in.mkv", "--flow", "RAFT")["raft.path"] == Path("RAFT")


# ---- models
INGREDIENTS = ("base", "weights", "vae", "tokenizer", "tagger", "dape", "tiny-decoder")
MODELS = {
    "models pull": (
        ["models", "pull", "sd21"],
        {
            "--tagger": Row(["--tagger"], {"call.tagger": True}),
            "--offline": Row(["--offline"], {"call.offline": True}),
            "--output": Row(["--output", "here"], {"call.target": Path("here")}),
            "--merge": Row(["--merge"], {"call.merge": True}),
            "--prompt": Row(["--prompt", "a", "--prompt", "b"], {"call.prompts": ("a", "b")}),
        },
    ),
    "models import": (
        ["models", "import", "--base", "b", "--weights", "w"],
        {
            f"--{part}": Row([f"--{part}", "X"], {f"call.parts.{part.replace('-', '_')}": Path("X")})
            for part in INGREDIENTS
        }
        | {
            "--half": Row(["--half"], {"call.half": True}),
            "--output": Row(["--output", "here"], {"call.target": Path("here")}),
            "--merge": Row(["--merge"], {"call.merge": True}),
            "--prompt": Row(["--prompt", "a"], {"call.prompts": ("a",)}),
        },
    ),
    "models mix": (
        ["models", "mix", "lite", "lite", "--output", "o"],
        {
            "--share": Row(["--share", "0.25"], {"call.share": 0.25}),
            "--card": Row(["--card", "card.json"], {"call.card": {"limits": "none"}}),
            "--output": Row(["--output", "here"], {"call.target": Path("here")}),
        },
    ),
}
CALLED = {
    "models pull": ("image_core.models.downloads.pull", ("name", "target")),
    "models import": ("image_core.models.official.make_bundle", ("parts", "target")),
    "models mix": ("image_core.models.mixing.mix_models", ("first", "second", "share", "target", "card")),
}


@pytest.mark.parametrize("command", MODELS)
@pytest.mark.usefixtures("here")
def test_every_option_of_models_reaches_the_library(command, monkeypatch):
    words, rows = MODELS[command]
    assert OPTIONS[command] == set(rows)

    def call(*more):
        calls = {}
        place, names = CALLED[command]
        monkeypatch.setattr(place, recorder(calls, "call", names, ends=True))
        invoke(*words, *more)
        return calls

    before = call()
    for option, row in rows.items():
        assert difference(before, call(*row.words)) == row.changes, option


@pytest.mark.usefixtures("here")
def test_remove_asks_unless_told(monkeypatch):
    assert OPTIONS["models remove"] == {"--yes"}
    calls = {}
    remove = recorder(calls, "call", ("name",), result="gone")
    monkeypatch.setattr("image_core.models.catalogue.remove_model", remove)
    CliRunner().invoke(cli, ["models", "remove", "x"], input="n\n")
    assert not calls
    invoke("models", "remove", "x", "--yes", code=0)
    assert calls == {"call.name": "x"}


# ---- train
def test_every_option_of_train_reaches_the_library(here, monkeypatch):
    recipe = here / "r.toml"
    recipe.write_text('name = "r"\n[data]\nfolder = "."\n[loop]\nsteps = 7\n')

    def call(*words):
        calls = {}

        def train_runs(runs, report, minutes):  # noqa: ARG001
            calls.update(folder=runs[-1].folder, steps=runs[-1].recipe.loop.steps, minutes=minutes)
            return [(run, run.recipe.loop.steps) for run in runs]

        monkeypatch.setattr("train.runs.train_runs", train_runs)
        monkeypatch.setattr("train.check.check", lambda runs: [f"checked {len(runs)}"])
        monkeypatch.setattr("train.export.check_export", recorder(calls, "check", ("recipe", "path")))
        export = recorder(calls, "export", ("run", "recipe", "path", "commit", "card"), result="there")
        monkeypatch.setattr("train.export.export_run", export)
        calls["said"] = invoke("train", recipe, *words, code=0)
        return calls

    assert OPTIONS["train"] == {"--output", "--set", "--minutes", "--check", "--export", "--commit", "--card"}
    before = call()
    assert before["steps"] == 7 and before["minutes"] == float("inf") and before["folder"] == Path("runs/r")
    assert call("--set", "loop.steps=9")["steps"] == 9
    assert call("--minutes", "2.5")["minutes"] == 2.5
    assert call("--output", "OUT")["folder"] == Path("OUT")
    checked = call("--check")
    assert "checked 1" in checked["said"] and "steps" not in checked
    exported = call("--export", "B", "--commit", "abc", "--card", "card.json")
    assert exported["check.path"] == exported["export.path"] == Path("B")
    assert exported["export.commit"] == "abc" and exported["export.card"] == {"limits": "none"}
    plain = call("--export", "B")
    assert plain["export.commit"] == "" and plain["export.card"] is None


@pytest.mark.usefixtures("here")
def test_every_option_of_watch_reaches_the_library(monkeypatch):
    def call(*words):
        calls = {}
        load = recorder(calls, "load", ("model", "options"), result="the upscaler")
        monkeypatch.setattr("osediff_video.api.load_upscaler", load)
        run = recorder(calls, "run", ("source", "target", "upscaler", "encoding", "options"), ends=True)
        monkeypatch.setattr("osediff_video.run.upscale_video", run)
        files = recorder(calls, "files", ("folder", "settle_s"), result=[Path("IN/in.mkv")])
        monkeypatch.setattr("osediff_video.workflow.watch.complete_files", files)
        invoke("watch", "IN", "-o", "OUT", "--scale", "2", *words)
        return calls

    Path("IN").mkdir()
    before = call()
    assert before["files.folder"] == Path("IN") and before["run.target"] == Path("OUT/in_x2.mkv")
    assert OPTIONS["watch"] - set(SHARED) == {"--settle", "--once"} | OF_FILES | OF_RESULTS
    for option in sorted(OPTIONS["watch"] & set(SHARED) - {"--output"}):
        changed = difference(before, call(*SHARED[option].words))
        if option in ("--scale", "--size"):  # part of the name
            assert changed.pop("run.target") != before["run.target"]
            changed.pop(f"{MODEL_CALL}.scale") if option == "--size" and f"{MODEL_CALL}.scale" in changed else None
        assert changed == SHARED[option].changes, option
    assert call("--output", "ELSE")["run.target"] == Path("ELSE/in_x2.mkv")
    assert difference(before, call("--settle", "3")) == {"files.settle_s": 3.0}
    assert difference(before, call("--once")) == {"files.once": True}


TESTED_HERE = {
    "watch",
    "gui",  # in tests/page/test_page.py
    "upscale",
    "plan",
    "assemble",
    "preview",
    "probe",
    "image",
    "compare",
    "eval",
    "train",
    "models remove",
    "bench",  # in test_bench
    *MODELS,
}


def test_no_command_is_left_out():
    assert {command for command, options in OPTIONS.items() if options} == TESTED_HERE
