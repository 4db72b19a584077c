"""What makes two jobs one job, and that the blend, the tones and the texts are those that were asked for."""

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from image_core.errors import OutputError
from image_core.options import UpscaleOptions
from image_core.storage.sealed import read_sealed, write_sealed
from image_core.upscaler import Draft
from osediff_video.encoding import Encoding
from osediff_video.job.folder import Job, job_folder
from osediff_video.job.identity import identify, is_unchanged
from osediff_video.job.manifest import UNDECISIVE, Manifest, manifest_of
from osediff_video.media.writing.encoder import EncoderPlan
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import plan_video
from osediff_video.shots.prompts import ShotEmbeddings, ShotPrompt
from osediff_video.shots.shot_list import ShotSettings
from osediff_video.shots.treatment import Treatments
from osediff_video.temporal.blend import WARMUP_FRAMES, LatentBlend, PixelBlend, State, choose_blend
from osediff_video.temporal.flow import Motion, motion
from osediff_video.temporal.raft import UPDATES, Raft
from osediff_video.temporal.steady_colors import steady_colors
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame
from tests.support.media_files import copy, info, sample_image, write_video
from tests.support.tiny_lite import upscaler
from tests.video.test_job import stopped_copy
from tests.video.test_temporal import scene, view


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two segments of 24 frames, at six a second."""
    return write_video(tmp_path_factory.mktemp("wiring") / "in.mkv", [2133 * n for n in range(200)], size=(16, 16),
                       options={"preset": "ultrafast"})  # fmt: skip


def names(kind):
    return {field.name for field in dataclasses.fields(kind)}


def manifest(source, model=None, **options):
    plan = plan_video(source, source.with_name("out.mkv"), 1, Encoding(), VideoOptions(**options))
    return manifest_of(plan, model or PlainResize())


def test_every_setting_that_decides_bits_is_in_the_manifest(video, generator):
    decisive = names(UpscaleOptions) | names(VideoOptions) | names(EncoderPlan) | {"model", "segment_frames"}
    apart = {"batch", "strict", "allow_damaged", "notes", "losses", "tiny_decoder", "latency_s"}
    assert apart == UNDECISIVE  # reported, recorded apart, or in no job
    assert set(manifest(video).settings) == decisive - UNDECISIVE
    plain, other = (manifest(video, upscaler(generator, strength=strength)) for strength in (1.0, 0.5))
    assert plain.changes(other) == ["strength was 1.0, is 0.5"] and plain.fingerprint != other.fingerprint


@pytest.mark.parametrize(("name", "contents"), [
    ("cuts", ("0.1", "0.2")), ("shots", ("[[shot]]\nstart=0\n", "[[shot]]\nstart=1\n")), ("flow", ("a", "b")),
])  # fmt: skip
def test_the_content_of_a_named_file_is_part_of_the_job(video, tmp_path, name, contents):
    file, prints = tmp_path / "named", []
    for content in contents:
        file.write_text(content)
        prints.append(manifest(video, **{name: str(file)}).fingerprint)
    copied = tmp_path / "elsewhere"
    copied.write_text(contents[1])
    prints.append(manifest(video, **{name: str(copied)}).fingerprint)
    assert prints[0] != prints[1] == prints[2]


def test_restart_begins_anew_and_another_format_is_not_gone_on_with(video, tmp_path):
    target = tmp_path / "out.mkv"
    stopped_copy(video, target, 150)
    path = job_folder(target) / "manifest.json"
    values = read_sealed(path)
    write_sealed(path, values | {"format": values["format"] + 1})
    with pytest.raises(OutputError, match="written by another version"):
        copy(video, target)
    write_sealed(path, values)
    stopped_copy(video, target, 160)
    assert copy(video, target, restart=True).resumed == 0


def test_what_comes_into_the_folder_meanwhile_stays(video, tmp_path):
    with Job(tmp_path / "out.mkv", [video], Manifest({}, {})) as job:
        (job.folder / "letter.txt").write_text("dear")
        job.begin()
        job.remove()
    assert [path.name for path in job_folder(tmp_path / "out.mkv").iterdir()] == ["letter.txt"]


def test_the_end_of_a_long_source_counts(tmp_path):
    source = tmp_path / "long.mkv"
    source.write_bytes(bytes(3 << 20))
    before = identify([source])
    source.write_bytes(bytes((3 << 20) - 1) + b"\1")
    assert not is_unchanged([source], before)


def test_the_blend_is_the_one_asked_for(generator):
    model = upscaler(generator)
    kinds = {name: choose_blend(VideoOptions(temporal=name, temporal_strength=0.3), model)
             for name in ("off", "pixel", "latent")}  # fmt: skip
    assert kinds["off"] is None and kinds["pixel"] == PixelBlend(0.3, 0.3)
    assert kinds["latent"] == LatentBlend(PixelBlend(0.3, 0.3), model)


def test_low_bands_of_what_is_invented_are_held_more_than_its_detail():
    for strength in (0.1, 0.7, 0.9):
        blend = PixelBlend.of(strength, generative=True)
        assert 1 > blend.low > strength > blend.high > 0
    assert PixelBlend.of(0.7, generative=True) == PixelBlend(0.85, pytest.approx(0.3))


def test_a_segment_forgets_less_than_can_be_seen():
    assert VideoOptions().temporal_strength ** WARMUP_FRAMES < 0.02


def test_tones_reach_a_revised_image():
    asked = []

    class Model:
        generator = SimpleNamespace(autoencoder=SimpleNamespace(decoder_sees_image=False))

        def revise(self, _, requested, __, tone=None):
            asked.append(tone)
            return requested

    image = sample_image(0)
    still = Motion(np.zeros((*image.shape[:2], 2), np.float32), np.ones(image.shape[:2], np.float32))
    step = Step(1, Frame(image, 1), still, tone="of this frame", draft=Draft(image))
    LatentBlend(PixelBlend(0.5, 0.5), Model()).carry(State(image.astype(np.float32), image.astype(np.float32)), step)
    assert asked == ["of this frame"]


def test_another_light_is_not_trusted():
    """A flash or a fade is no motion: what was darker must not be blended in."""
    page = view(scene(2), 0, 0)
    assert motion(page, page).confidence.mean() > 0.9 and motion(page, page + np.uint8(8)).confidence.mean() < 0.1


def test_tones_of_another_shot_do_not_count():
    images = [np.full((16, 16, 3), 100 + (n >= 4), np.uint8) for n in range(6)]  # a level apart, so that tones mix
    for image in images:
        image[:8] = 30
    for cuts, moved in (((0,), True), ((0, 4), False)):
        marked = [Frame(image, n, cut=n in cuts) for n, image in enumerate(images)]
        tones = [step.tone for step in steady_colors(steps(marked, 0, None))]
        assert (max(map(abs, tones[4].shift)) > 1e-4) == moved


def test_the_first_frame_of_a_shot_has_its_text():
    prompter = SimpleNamespace(embedding=lambda words: words)
    texts = ShotEmbeddings([ShotPrompt(0, 2, "a"), ShotPrompt(7, 8, "b"), ShotPrompt(9, 9, "c")], prompter)
    assert [texts.at(n) for n in (0, 6, 7, 8, 9, 50)] == ["a", "a", "b", "b", "c", "c"]


def test_a_part_ends_before_its_end(video, tmp_path):
    result = copy(video, tmp_path / "part.mkv", start_s=Fraction(1), end_s=Fraction(2))
    assert result.frames == 6


def test_restart_leaves_nothing_of_the_job_before(video, tmp_path):
    target = tmp_path / "out.mkv"
    with Job(target, [video], Manifest({"crf": 1}, {})) as job:
        job.begin()
        (job.folder / "prompts.json").write_text("{}")
    with Job(target, [video], Manifest({"crf": 2}, {}), restart=True) as job:
        job.begin()
        assert not (job.folder / "prompts.json").exists()
    assert read_sealed(job_folder(target) / "manifest.json")["settings"] == {"crf": 2}


def test_threads_and_workload_are_taken_over_and_a_device_is_not():
    before = Manifest({}, {"threads": 1, "workload": {"batch": 1}, "device": "cpu"})
    other = Manifest({}, {"threads": 4, "workload": {"batch": 2}, "device": "cpu"})
    assert before.changes(other) == []
    other.computation["device"] = "cuda"
    assert before.changes(other) == ["device was cpu, is cuda"] and before.changes(other, mixed=True) == []


def test_a_finished_result_is_of_its_source(tmp_path):
    source, times = tmp_path / "in.mkv", [512 * n for n in range(8)]
    write_video(source, times, size=(16, 24))
    copy(source, tmp_path / "out.mkv")
    assert copy(source, tmp_path / "out.mkv").already_finished
    write_video(source, times, size=(16, 24), images=[255 - sample_image(n, 16, 24) for n in range(8)])
    with pytest.raises(OutputError, match="another source"):
        copy(source, tmp_path / "out.mkv")


def test_raft_s_last_word_counts():
    """It comes nearer with every update."""

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, first, _, num_flow_updates):
            return [torch.full((1, 2, *first.shape[-2:]), float(number)) for number in range(1, num_flow_updates + 1)]

    image = sample_image(0, 128, 128)
    assert (Raft(Network())(image, image) == UPDATES).all()


def test_a_prompt_of_a_shot_holds_where_the_video_has_none():
    steered = ShotSettings(number=1, prompt="a cat").images(UpscaleOptions(prompt_mode="none"))
    assert (steered.prompt, steered.prompt_mode) == ("a cat", "fixed")


def test_what_came_from_outside_is_not_trusted():
    """The same grey everywhere, which all moves by ten pixels: nothing but the border tells what was not seen."""

    def moved(source, _):
        flow = np.zeros((*source.shape[:2], 2), np.float32)
        flow[..., 0] = next(steps)
        return flow

    steps, grey = iter((10.0, -10.0)), np.full((32, 64, 3), 90, np.uint8)
    confidence = motion(grey, grey, moved).confidence
    assert confidence[:, :53].min() > 0.9 and confidence[:, 55:].max() == 0


def test_shots_count_from_the_first_frame(generator):
    """Recordings of transport streams begin at any time of the clock."""
    facts = info(begins_s=Fraction(100), time_base=Fraction(1, 25))
    shots = (ShotSettings(start_s=Fraction(2, 25), strength=0.2),)
    treatments = Treatments(shots, VideoOptions(temporal="off"), upscaler(generator))
    frames = [Frame(sample_image(n, 16, 16), 2500 + n, cut=n == 0) for n in range(4)]
    assert [frame.treatment for frame in treatments.marked(frames, facts)] == [None, None, 0, 0]
