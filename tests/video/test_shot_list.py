"""Lists of shots: what a file may say, and that every frame gets what its shot asks for."""

import time
from fractions import Fraction

import numpy as np
import pytest
import torch

from image_core.errors import CheckpointError, MediaError
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from image_core.upscaler import Workload
from osediff_video.chain import prepare, upscaled
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.job.manifest import manifest_of
from osediff_video.options import VideoOptions, parse_number, parse_time
from osediff_video.plan import plan_video
from osediff_video.shots.cuts import read_cut_list
from osediff_video.shots.shot_list import KINDS, read_shot_list
from osediff_video.stages.drafting import batches
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame
from tests.support.media_files import FAST, sample_image
from tests.support.tiny_lite import upscaler

COUNT, CHANGE = 30, 10
TIME = f"{CHANGE / 25}"


@pytest.fixture
def video(tmp_path):
    """A folder of frames that all differ."""
    folder = tmp_path / "video"
    folder.mkdir()
    for n in range(COUNT):
        write_image(folder / f"{n:03d}.png", ImageFile(sample_image(n, 24, 32)))
    return folder


def listed(folder, text):
    path = folder.parent / "shots.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def frames(video, model, skip=0, **options):
    plan = plan_video(
        video, video.parent / "out", model.options.scale, FAST, VideoOptions(**{"temporal": "off", **options})
    )
    return [frame.image for _, frame in upscaled(plan, model, prepare(plan.options, model), None, skip)]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("place", [f"start = {TIME}", f'start = "0:{TIME}"', "number = 2"])
def test_a_shot_gets_what_its_table_says_and_the_rest_is_as_before(video, generator, place):
    (video.parent / "cuts.txt").write_text(TIME)
    cuts = str(video.parent / "cuts.txt")
    usual, other = (
        frames(video, upscaler(generator, scale=1)),
        frames(video, upscaler(generator, scale=1, strength=0.2)),
    )
    shots = listed(video, f"[[shot]]\n{place}\nstrength = 0.2\n")
    result = frames(video, upscaler(generator, scale=1), shots=shots, cuts=cuts)
    assert equal(result[:CHANGE], usual[:CHANGE]) and equal(result[CHANGE:], other[CHANGE:])
    assert not equal(usual[CHANGE:], other[CHANGE:])
    resumed = frames(video, upscaler(generator, scale=1), 17, shots=shots, cuts=cuts)
    assert equal(resumed, result[17:])


def test_the_next_start_ends_a_table_and_a_number_counts_before_a_start(video, generator):
    (video.parent / "cuts.txt").write_text("0.4\n0.8")
    shots = listed(
        video,
        '[[shot]]\nstart = 0.2\ncolor_fix = "wavelet"\n[[shot]]\nstart = 1\n[[shot]]\nnumber = 2\nkeep_tones = true\n',
    )
    result = frames(video, upscaler(generator, scale=1), shots=shots, cuts=str(video.parent / "cuts.txt"))
    plain, fixed, remaining = (
        frames(video, upscaler(generator, scale=1, **options))
        for options in ({}, {"color_fix": "wavelet"}, {"keep_tones": True})
    )
    for part, expected in (
        (slice(0, 5), plain),
        (slice(5, 10), fixed),
        (slice(10, 20), remaining),
        (slice(20, 25), fixed),
    ):
        assert equal(result[part], expected[part])
    assert equal(result[25:], plain[25:])


def test_tables_that_the_video_does_not_reach_are_said(video, generator):
    (video.parent / "cuts.txt").write_text(TIME)
    shots = listed(
        video, "".join(f"[[shot]]\n{place}\nstrength = 0.2\n" for place in ("number=2", "number=9", "start=7"))
    )
    model, output = upscaler(generator, scale=1), []
    model.report = output.append
    frames(video, model, cuts=str(video.parent / "cuts.txt"), shots=shots)
    assert (
        len(output) == 2
        and "number 9, but shot 2 is" in output[0]
        and "start 7 s" in output[1]
        and "1.16 s" in output[1]
    )


def test_the_blend_changes_with_the_shot_and_begins_anew(video, generator):
    (video.parent / "cuts.txt").write_text(TIME)
    shots = listed(video, f"[[shot]]\nstart = {TIME}\ntemporal_strength = 0.2\n")
    model = upscaler(generator, scale=1)
    usual = frames(video, model, temporal="pixel", cuts="off")
    weak = frames(video, model, temporal="pixel", temporal_strength=0.2, cuts=str(video.parent / "cuts.txt"))
    result = frames(video, model, temporal="pixel", cuts="off", shots=shots)
    assert equal(result[:CHANGE], usual[:CHANGE]) and equal(result[CHANGE:], weak[CHANGE:])
    assert equal(frames(video, model, 21, temporal="pixel", cuts="off", shots=shots), result[21:])


def test_tones_are_kept_behind_the_blend(video, generator):
    from image_core.images import to_tensor
    from image_core.keep_tones import tones

    remaining = frames(video, upscaler(generator, scale=1, keep_tones=True), temporal="pixel")
    for n, image in enumerate(remaining):
        moved = tones(to_tensor([image])) - tones(to_tensor([sample_image(n, 24, 32)]))
        assert moved.abs().max() <= 0.5 * 2 / 255


def test_another_prompt_for_a_shot(video, tiny_bundle):
    cpu = {"device": torch.device("cpu"), "dtype": torch.float32}
    usual, cat = (load_upscaler(tiny_bundle, UpscaleOptions(1.0, prompt), **cpu) for prompt in (None, "a cat"))
    first = video.parent / "few"
    first.mkdir()
    for path in sorted(video.iterdir())[:4]:
        path.rename(first / path.name)
    shots = listed(video, '[[shot]]\nstart = 0.08\nprompt = "a cat"\n')
    result = frames(first, usual, shots=shots)
    assert equal(result[:2], frames(first, usual)[:2]) and equal(result[2:], frames(first, cat)[2:])
    assert not equal(result[2:], frames(first, usual)[2:])


KEYS = {
    "prompt": ('"a cat"', ""),
    "negative_prompt": ('"blurry"', "guidance = 3\n"),
    "guidance": ("3", 'prompt = "a cat"\n'),
    "strength": ("0.3", ""),
    "adaptive": ("true", ""),
    "keep_tones": ("true", ""),
    "color_fix": ('"none"', ""),
    "temporal_strength": ("0.1", ""),
}
"""A value of each key, and what else both tables say. `number` and `start` say which shot: tested above."""


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return load_upscaler(tiny_bundle, UpscaleOptions(1.0), device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_table_changes_its_shot_alone(video, model, key):
    value, both = KEYS[key]
    few = video.parent / "few"
    few.mkdir()
    draw = np.random.default_rng(3)
    for n in range(4):
        noisy = np.clip(sample_image(n, 24, 32) + draw.integers(-20, 20, (24, 32, 3)), 0, 255).astype(np.uint8)
        write_image(few / f"{n}.png", ImageFile(noisy))
    (video.parent / "cuts.txt").write_text("0.08")
    results = []
    for more in ("", f"{key} = {value}\n"):
        table = f"[[shot]]\nstart = 0.08\n{both or 'strength = 1.0' * (key != 'strength')}\n{more}"
        shots = listed(video, table)
        results.append(frames(few, model, shots=shots, cuts=str(video.parent / "cuts.txt"), temporal="pixel"))
    assert equal(results[0][:2], results[1][:2]) and not equal(results[0][2:], results[1][2:])


def test_no_key_is_left_out():
    assert set(KINDS) == set(KEYS) | {"number", "start"}


def test_a_batch_is_treated_alike(video, generator):
    shots = listed(video, "[[shot]]\nstart = 0\nstrength = 0.5\n")
    model = upscaler(generator)
    treatments = prepare(VideoOptions(shots=shots), model).treatments
    for treatment in (treatments.usual, treatments.own[0]):
        treatment.upscaler.use_workload(64, 64, Workload(4, None))
    tables = [None, None, 0, 0, 0, 0, 0, None]
    steps = [Step(n, Frame(sample_image(n), n, treatment=table), None) for n, table in enumerate(tables, 100)]
    grouped = [[step.frame.treatment for step in batch] for batch in batches(steps, treatments, 10**6, (64, 64))]
    assert grouped == [[None, None], [0, 0, 0, 0], [0], [None]]


def test_what_the_file_says_is_part_of_the_job(video, generator):
    def known(text):
        options = VideoOptions(shots=listed(video, text))
        plan = plan_video(video, video.parent / "out", 1.0, FAST, options)
        return manifest_of(plan, upscaler(generator, scale=1)).settings

    first = known("[[shot]]\nnumber = 1\nstrength = 0.5\n")
    again, other = known("[[shot]]\nnumber = 1\nstrength = 0.5\n"), known("[[shot]]\nnumber = 1\nstrength = 0.6\n")
    assert first == again and [key for key in first if first[key] != other[key]] == ["shots"]
    assert first.keys() >= {"strength", "temporal_strength", "guidance", "adaptive", "keep_tones", "lora_scale", "seed"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[shot]]\nnumber = 1\nstrenght = 0.5", "'strenght'; did you mean 'strength'"),
        ("[[shot]]\nnumber = 1\nzzz = 0.5", "known are number, start"),
        ("[[shot]\nnumber = 1", "not readable as TOML.*line 1"),
        ("number = 1", "unknown key 'number'; expected tables"),
        ("", "one or more tables"),
        ("shot = 3", "one or more tables"),
        ("[[shot]]\nstrength = 0.5", "table 1 must have either number or start"),
        ("[[shot]]\nnumber = 1\nstart = 3", "either number or start"),
        ("[[shot]]\nnumber = 0", "numbered from 1"),
        ("[[shot]]\nnumber = true", "number must be a whole number, got True"),
        ("[[shot]]\nnumber = 1\nprompt = 3", "prompt must be a string"),
        ('[[shot]]\nstart = "later"', "expected a time"),
        ("[[shot]]\nstart = -1", "expected a time"),
        ("[[shot]]\nnumber = 1\nstrength = 3", "table 1: strength must be from 0 to 1"),
        ("[[shot]]\nnumber = 1\nguidance = nan", "guidance must be from 1"),
        ("[[shot]]\nnumber = 1\ntemporal_strength = 1", "temporal_strength must be between"),
        ('[[shot]]\nnumber = 1\ncolor_fix = "x"', "color_fix must be one of"),
        ("[[shot]]\nnumber = 1\n[[shot]]\nnumber = 1", "two tables have the number 1"),
        ("[[shot]]\nstart = 0\n[[shot]]\nstart = 0.0", "two tables have the start 0"),
    ],
)
def test_mistakes_in_the_file_are_said(tmp_path, text, message):
    path = tmp_path / "shots.toml"
    path.write_text(text)
    with pytest.raises(MediaError, match=f"shots.toml: .*{message}"):
        read_shot_list(path)


def test_files_that_are_none(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MediaError, match="not readable as TOML"):
        read_shot_list(tmp_path / "binary")
    with pytest.raises(MediaError, match="no such file"):
        read_shot_list(tmp_path / "none")


def test_times_are_exact(tmp_path):
    (tmp_path / "shots.toml").write_text("[[shot]]\nstart = 0.4\n[[shot]]\nstart = '1:00.2'\n[[shot]]\nnumber = 2\n")
    assert [shot.start_s for shot in read_shot_list(tmp_path / "shots.toml")] == [
        Fraction(2, 5),
        Fraction(301, 5),
        None,
    ]


def test_what_cannot_be_done_is_said_before_the_work(video, generator):
    shots = listed(video, "[[shot]]\nnumber = 3\ntemporal_strength = 0.5\n")
    with pytest.raises(MediaError, match="number 3: temporal_strength does nothing with --temporal off"):
        prepare(VideoOptions(shots=shots, temporal="off"), upscaler(generator))
    shots = listed(video, '[[shot]]\nstart = 3\nnegative_prompt = "blur"\n')
    with pytest.raises(MediaError, match="start 3 s: a negative prompt does nothing at guidance 1"):
        prepare(VideoOptions(shots=shots), upscaler(generator))
    from image_core.models.catalogue import find_model

    lite = load_upscaler(find_model("lite"), UpscaleOptions(), device=torch.device("cpu"), dtype=torch.float32)
    with pytest.raises(CheckpointError, match="reads no prompts"):
        prepare(VideoOptions(shots=listed(video, "[[shot]]\nnumber = 1\nguidance = 2\n")), lite)


@pytest.mark.parametrize(
    "text",
    [
        "[[shot]]\nstart = 1e99999999",
        '[[shot]]\nstart = "1e99999999"',
        "[[shot]]\nstart = " + "9" * 400,
        "[[shot]]\nnumber = " + "9" * 5000,
        "[[shot]]\nnumber = 1\nguidance = " + "9" * 400,
        "x = " + "[" * 50_000,
        "[[shot]]\nnumber = 1\nstrength = nan",
        "[[shot]]\nnumber = 1\nstrength = 1e400",
    ],
)
def test_numbers_nobody_means_are_one_error_at_once(tmp_path, text):
    (tmp_path / "shots.toml").write_text(text)
    started = time.monotonic()
    with pytest.raises(MediaError, match=r"shots\.toml"):
        read_shot_list(tmp_path / "shots.toml")
    assert time.monotonic() - started < 5


def test_a_file_from_windows_and_a_long_list_are_read(tmp_path):
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf[[shot]]\r\nnumber = 1\r\nstrength = 0.5\r\n")
    assert read_shot_list(tmp_path / "bom.toml")[0].strength == 0.5
    (tmp_path / "long.toml").write_text("".join(f"[[shot]]\nnumber = {n}\n" for n in range(1, 3001)))
    assert len(read_shot_list(tmp_path / "long.toml")) == 3000
    (tmp_path / "cuts.txt").write_bytes(b"\xef\xbb\xbf1:00\r\n2:00\r\n")
    assert read_cut_list(tmp_path / "cuts.txt") == [60, 120]


@pytest.mark.parametrize("words", ["1e9", "²", "nan", "inf", "-1", "1/0", "9" * 10, "0x10", "1_000", ""])
def test_what_is_no_plain_number_is_refused(words):
    with pytest.raises(ValueError, match="expected a"):
        parse_number(words)
    with pytest.raises(ValueError, match="expected a time"):
        parse_time(words)


def test_plain_numbers_are_exact():
    assert parse_number("30000/1001") == Fraction(30000, 1001) and parse_number("23.976") == Fraction(23976, 1000)
    assert parse_number(".5") == Fraction(1, 2) and parse_time("1:02:03.5") == Fraction(7447, 2)
