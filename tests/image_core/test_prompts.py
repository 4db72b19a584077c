"""From images to prompts: modes, the published form, the cache of embeddings, one prompt for each shot of a video."""

import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from cli.main import cli
from image_core.bundle import read_bundle
from image_core.errors import CheckpointError
from image_core.images import enlarge, to_tensor
from image_core.models.catalogue import find_model
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
from image_core.prompts import embedding as embeddings
from image_core.prompts.embedding import Prompts
from image_core.prompts.prompter import load_prompter, published_prompt
from osediff_video.chain import find_embeddings, prepare
from osediff_video.encoding import Encoding
from osediff_video.job.folder import Job
from osediff_video.job.manifest import manifest_of
from osediff_video.options import VideoOptions
from osediff_video.plan import plan_video
from osediff_video.run import upscale_video
from osediff_video.shots.prompts import (
    ShotEmbeddings,
    ShotPrompt,
    read_shots,
    sharpest_frames,
    with_first_texts,
    write_shots,
)
from osediff_video.temporal.steps import steps
from osediff_video.types import Frame
from tests.support.media_files import read, sample_image, write_video


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def loaded(bundle, **options):
    options = UpscaleOptions(scale=1, color_fix="none", **options)
    return load_upscaler(bundle, options, device=torch.device("cpu"), dtype=torch.float32)


def test_the_form_is_the_published_one():
    assert published_prompt(["cat", "blue sky"], "") == "cat, blue sky, ,"
    assert published_prompt(["cat"], "sharp") == "cat, sharp," and published_prompt([], "") == ", ,"


def test_each_image_of_a_batch_has_its_own_prompt(tagging_bundle):
    upscaler = loaded(tagging_bundle, batch=2)
    images = [sample_image(0, 64, 64), np.full((64, 64, 3), 90, np.uint8)]
    prompts = upscaler.prompter.describe(to_tensor(images))
    assert prompts[0] != prompts[1]
    together = upscaler(images)
    for image, result, words in zip(images, together, prompts, strict=True):
        (alone,) = loaded(tagging_bundle, prompt_mode="fixed", prompt=words)([image])
        assert np.abs(alone.astype(int) - result.astype(int)).max() <= 1
    other = loaded(tagging_bundle, prompt_mode="fixed", prompt="a harp")([images[0]])[0]
    assert np.abs(other.astype(int) - together[0].astype(int)).max() > 1


def test_modes(tagging_bundle, tiny_bundle):
    image = [sample_image(0, 64, 64)]
    default, none = loaded(tiny_bundle), loaded(tiny_bundle, prompt_mode="none")
    assert default.prompter is None and np.array_equal(default(image)[0], none(image)[0])
    assert torch.equal(loaded(tiny_bundle, prompt="a cat").embedding, Prompts(tiny_bundle)("a cat"))
    assert loaded(tagging_bundle, prompt_mode="fixed").prompter is None
    assert loaded(tagging_bundle).prompter is not None and loaded(find_model("lite")).prompter is None
    for bundle in (tiny_bundle, find_model("lite")):
        with pytest.raises(CheckpointError, match="has no tagger"):
            loaded(bundle, prompt_mode="tags")
    with pytest.raises(ValueError, match="prompt_mode none uses no prompt, but 'a cat' was given"):
        UpscaleOptions(prompt_mode="none", prompt="a cat")
    with pytest.raises(ValueError, match="prompt_mode must be one of"):
        UpscaleOptions(prompt_mode="guess")


def test_embeddings_are_made_once_on_a_machine(tiny_bundle, tmp_path, cache, monkeypatch):
    first = Prompts(tiny_bundle)("a harp")
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle.path, copy)
    shutil.rmtree(copy / "text_encoder")  # the same by its hashes, but nothing left to make an embedding with
    assert torch.equal(Prompts(read_bundle(copy))("a harp"), first)
    with pytest.raises(CheckpointError, match=r"text_encoder/model\.safetensors: no such file"):
        Prompts(read_bundle(copy))("another")
    (file,) = cache.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(Prompts(tiny_bundle)("a harp"), first)  # damaged: made again
    monkeypatch.setattr(embeddings, "KEPT_PROMPTS", 2)
    for words in ("one", "two", "three"):
        Prompts(tiny_bundle)(words)
    assert len(list(cache.iterdir())) == 2
    assert torch.equal(Prompts(read_bundle(copy))("three"), Prompts(tiny_bundle)("three"))  # the newest are kept


def test_a_cache_that_cannot_be_written_is_done_without(tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(embeddings, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert Prompts(tiny_bundle)("a harp").shape == (1, 77, 32)


def test_a_prompt_that_is_too_long_is_cut_and_that_is_said(tiny_bundle):
    for _ in range(2):  # made, then from the cache
        messages = []
        actual = Prompts(tiny_bundle, report=messages.append)("cat " * 100)
        assert messages == [f"the prompt is too long for the model: its last 25 tokens were cut ({('cat ' * 15)}...)"]
    assert torch.equal(actual, Prompts(tiny_bundle)("cat " * 120))


@pytest.mark.slow
def test_the_command_line(tagging_bundle, tmp_path):
    source = tmp_path / "in.png"
    Image.fromarray(sample_image(0, 64, 64)).save(source)
    results = []
    for mode in ("auto", "tags", "fixed", "none"):
        target = tmp_path / f"{mode}.png"
        words = ["image", source, "-o", target, "--scale", "1", "--model", tagging_bundle.path, "--prompt-mode", mode]
        outcome = CliRunner().invoke(cli, [str(word) for word in words])
        assert outcome.exit_code == 0, outcome.output
        results.append(np.asarray(Image.open(target)))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[2], results[3])
    assert not np.array_equal(results[1], results[2])
    words = ["image", source, "--model", "lite", "--prompt-mode", "none", "--prompt", "cat"]
    assert CliRunner().invoke(cli, [str(word) for word in words]).exit_code == 2


BLOCKED = """
import sys
from pathlib import Path
for name in ("transformers", "peft", "timm"):
    sys.modules[name] = None
import torch
from image_core.bundle import read_bundle
from image_core.models.load import load_upscaler
from image_core.options import UpscaleOptions
import numpy
upscaler = load_upscaler(read_bundle(Path(sys.argv[1])), UpscaleOptions(prompt_mode="fixed", scale=1),
                         device=torch.device("cpu"), dtype=torch.float32)
(result,) = upscaler([numpy.full((64, 64, 3), 99, numpy.uint8)])
assert result.shape == (64, 64, 3)
try:
    import transformers
except ImportError:
    print("it ran")
"""


@pytest.mark.slow  # as tests/test_start.py says of the embedded model in less time
def test_with_fixed_prompts_no_transformers_are_needed(tiny_bundle):
    outcome = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tiny_bundle.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.stdout.strip() == "it ran", outcome.stderr


def frames(images, cuts=(0,)):
    return [Frame(image, number, cut=number in cuts) for number, image in enumerate(images)]


def test_the_sharpest_frame_of_each_shot_is_found():
    sharp = [sample_image(0), sample_image(5)]
    blurred = [[cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (4, 2, 1, 3)] for image in sharp]
    blurred[0][2], blurred[1][0] = sharp
    actual = list(sharpest_frames(frames([*blurred[0], *blurred[1]], cuts=(0, 4))))
    assert [(first, best) for first, best, _ in actual] == [(0, 2), (4, 4)]
    assert all(np.array_equal(image, expected) for (_, _, image), expected in zip(actual, sharp, strict=True))
    black = np.zeros((8, 8, 3), np.uint16)
    assert [actual[:2] for actual in sharpest_frames(frames([black] * 3))] == [(0, 0)]
    assert list(sharpest_frames([])) == []


def test_shots_are_kept_with_the_job_they_belong_to(tmp_path):
    shots, file = [ShotPrompt(0, 3, "a, ,"), ShotPrompt(9, 9, "b, ,")], tmp_path / "prompts.json"
    assert read_shots(tmp_path) is None
    write_shots(tmp_path, shots)
    assert read_shots(tmp_path) == shots
    for changed in (file.read_text().replace("a, ,", "x, ,"), "[]", "{", '{"sha256": 1}'):
        file.write_text(changed)
        assert read_shots(tmp_path) is None


class Counting:
    """A prompter that remembers what it looked at and says what it was told to."""

    def __init__(self, prompter):
        self.prompter, self.seen, self.tagger = prompter, [], prompter.tagger

    def describe(self, image):
        self.seen.append(image)
        return self.prompter.describe(image)

    def embedding(self, words):
        return self.prompter.embedding(words)


def two_shots(path):
    images = [sample_image(0, 48, 64)] * 5 + [255 - sample_image(0, 48, 64)] * 6
    images[2] = cv2.GaussianBlur(images[2], (0, 0), 1)
    images[0] = cv2.GaussianBlur(images[0], (0, 0), 2)
    return write_video(path, [512 * n for n in range(11)], images=images, options={"crf": "1", "bf": "0"})


@pytest.mark.parametrize("temporal", ["pixel", "off"])
def test_a_video_is_looked_at_once_for_each_shot(tagging_bundle, tmp_path, temporal):
    source = two_shots(tmp_path / "in.mkv")
    times = tmp_path / "cuts.txt"
    times.write_text(f"{5 / 25}\n")
    upscaler = loaded(tagging_bundle)
    upscaler.prompter = counting = Counting(upscaler.prompter)
    options = VideoOptions(temporal=temporal, cuts=str(times))
    result = upscale_video(source, tmp_path / "out.mkv", upscaler, Encoding("ffv1"), options)
    assert result.frames == 11 and len(counting.seen) == 2
    if temporal == "off":
        inputs, outputs = read(source), read(tmp_path / "out.mkv")
        for number, best in ((0, 1), (4, 1), (5, 5), (10, 5)):
            words = upscaler.prompter.describe(to_tensor([enlarge(inputs[best].image, 48, 64)]))[0]
            (expected,) = loaded(tagging_bundle, prompt_mode="fixed", prompt=words)([inputs[number].image])
            assert np.abs(outputs[number].image.astype(int) - expected.astype(int)).max() <= 3


def test_texts_follow_the_shots(tagging_bundle):
    texts = ShotEmbeddings(
        [ShotPrompt(0, 0, "a cat"), ShotPrompt(7, 8, "a harp")], load_prompter(tagging_bundle, UpscaleOptions())
    )
    cat, harp = (Prompts(tagging_bundle)(words) for words in ("a cat", "a harp"))
    assert [torch.equal(texts.at(n), cat) for n in (0, 6, 7, 100)] == [True, True, False, False]
    assert torch.equal(texts.at(7), harp) and torch.equal(texts.at(100), harp)


def test_what_was_found_is_not_looked_for_again(tagging_bundle, tmp_path):
    upscaler = loaded(tagging_bundle)
    upscaler.prompter = counting = Counting(upscaler.prompter)
    plan = plan_video(
        two_shots(tmp_path / "in.mkv"), tmp_path / "out.mkv", 1, Encoding("ffv1"), VideoOptions(cuts="off")
    )
    steadiness = prepare(plan.options, upscaler)
    with Job(plan.target, plan.sources, manifest_of(plan, upscaler)) as job:
        first = find_embeddings(plan, upscaler, steadiness, job)
        assert len(counting.seen) == len(first.shots) == 1
    with Job(plan.target, plan.sources, manifest_of(plan, upscaler)) as job:
        assert find_embeddings(plan, upscaler, steadiness, job).shots == first.shots and len(counting.seen) == 1
    with Job(plan.target, plan.sources, manifest_of(plan, upscaler), restart=True) as job:
        find_embeddings(plan, upscaler, steadiness, job)
        assert len(counting.seen) == 2
    upscaler.prompter = None
    assert find_embeddings(plan, upscaler, steadiness, None) is None


def test_frames_that_come_only_once_have_the_text_of_their_shot_s_first(tagging_bundle):
    counting = Counting(load_prompter(tagging_bundle, UpscaleOptions()))
    images = [sample_image(0, 64, 64)] * 2 + [np.full((64, 64, 3), 90, np.uint8)] * 2
    related = steps(frames(images, cuts=(0, 2)), 0, None)
    texts = [step.embedding for step in with_first_texts(related, counting, 64, 64)]
    assert len(counting.seen) == 2 and texts[0] is texts[1] and texts[2] is texts[3]
    assert not torch.equal(texts[0], texts[2])
