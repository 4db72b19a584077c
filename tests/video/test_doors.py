"""The doors of the library: its defaults, what is handed on to a job, what is refused, and what files hold."""

import dataclasses
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from image_core.errors import MediaError, OutputError
from image_core.options import Draws, UpscaleOptions
from image_core.upscaler import Draft
from osediff_video import Encoding, VideoOptions, api, chain, finish, read_preset, target, upscale, upscale_frames
from osediff_video.images.image_file import ImageFile, pixels_of, read_image, write_image
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import VideoPlan, plan_video
from osediff_video.run import Progress, carry_out, upscale_video
from osediff_video.shots.treatment import Treatments
from osediff_video.sources.animation import AnimationSource
from osediff_video.sources.comparison import compose
from osediff_video.sources.folder import list_frames
from osediff_video.sources.open import open_source
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame
from tests.support.media_files import FAST, sample_image, write_video
from tests.support.tiny_lite import upscaler

OFF = VideoOptions(temporal="off")


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "in.mkv", [512 * n for n in range(6)], size=(16, 24), sound_from=Fraction(0),
                       options={"preset": "ultrafast"})  # fmt: skip


def test_the_defaults_are_those_that_the_pages_name():
    assert dataclasses.asdict(VideoOptions()) == {
        "size": None, "start_s": None, "end_s": None, "deinterlace": "auto", "keep_rotation": False,
        "temporal": "pixel", "temporal_strength": 0.7, "shots": None, "uncertainty": None, "draws": 8, "seed": 0,
        "flow": "dis", "cuts": "auto", "fps": Fraction(25), "pipe_format": "matroska", "realtime": False,
        "latency_s": 0.5, "strict": False, "allow_damaged": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"temporal_strength": 0.0},
        {"temporal_strength": 1.0},
        {"start_s": Fraction(2), "end_s": Fraction(2)},
        {"fps": 0},
    ],
    ids=str,
)
def test_values_at_the_edge_of_a_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        VideoOptions(**wrong)


def test_an_encoder_option_has_the_last_word():
    assert Encoding(crf=30, options={"crf": "20"}).options_for("libx264")["crf"] == "20"


@pytest.mark.parametrize(
    ("suffix", "facts", "codec"),
    [
        (".mp4", {}, "libx264"), (".mp4", {"hdr": True}, "libx265"), (".webm", {}, "libvpx-vp9"),
        (".webm", {"deep": True}, "libsvtav1"), (".mov", {"alpha": True}, "prores_ks"),
        (".mkv", {"alpha": True}, "ffv1"),
        (".gif", {}, "gif"),
    ],
)  # fmt: skip
def test_the_encoder_fits_the_container(suffix, facts, codec):
    assert Encoding().codec_for(suffix, **facts) == codec


def test_a_target_is_checked_before_the_model_is_loaded(video, tmp_path, monkeypatch):
    def load(*_, **__):
        raise AssertionError("a model of gigabytes was loaded first")

    monkeypatch.setattr(api, "load_upscaler", load)
    (tmp_path / "out.mkv").write_text("theirs")
    with pytest.raises(OutputError, match="--overwrite"):
        upscale(video, tmp_path / "out.mkv")


def test_what_is_given_to_upscale_reaches_the_job(video, tmp_path, monkeypatch):
    loaded, asked, done = [], [], []
    monkeypatch.setattr(api, "load_upscaler", lambda *words, **named: loaded.append((words, named)) or "the model")
    monkeypatch.setattr(api, "plan_run", lambda *words, **named: asked.append((words, named)) or ("the plan", None))
    monkeypatch.setattr(api, "upscale_planned", lambda *words, **named: done.append((words, named)) or "the result")
    images, how, options = UpscaleOptions(strength=0.4), Encoding("x265"), VideoOptions(temporal="off")

    def progress(_):
        return None

    result = upscale(
        video, tmp_path / "out.mkv", model="lite", scale=3, overwrite=True, progress=progress, options=images,
        video=options, encoding=how, device="cpu", precision="bf16", restart=True, planned=progress, report=progress,
    )  # fmt: skip
    expected = UpscaleOptions(scale=3.0, strength=0.4)
    assert result == "the result"
    ((words, named),) = loaded
    assert words == ("lite", expected)
    assert named.items() >= {"device": "cpu", "precision": "bf16", "report": progress}.items()
    assert asked == [((video, tmp_path / "out.mkv", 3.0, how, options), {"restart": True, "overwrite": True})]
    named = {"restart": True, "progress": progress, "planned": progress}
    assert done == [(("the plan", "the model", None), named)]


def test_the_rate_of_frames_counts_where_times_are_meant(tmp_path, generator):
    """At two frames a second a shot that begins after one second begins with the third frame."""
    (tmp_path / "shots.toml").write_text("[[shot]]\nstart = 1\nstrength = 0.0\n")
    images = [sample_image(n, 16, 24) for n in range(5)]
    model = upscaler(generator, scale=1)
    plain = list(upscale_frames(images, model=model, fps=2, video=OFF))
    options = dataclasses.replace(OFF, shots=str(tmp_path / "shots.toml"))
    steered = list(upscale_frames(images, model=model, fps=2, video=options))
    assert [np.array_equal(a, b) for a, b in zip(plain, steered, strict=True)] == [True, True, False, False, False]


def plan_of(video, **options):
    return plan_video(video, video.with_name("out.mkv"), 1, FAST, VideoOptions(**options))


def test_maps_of_a_video_are_asked_for_with_draws_and_seed(video, monkeypatch):
    seen = []
    monkeypatch.setattr(chain, "with_maps", lambda steps, folder, draws, *_: seen.append((folder, draws)) or steps)
    plan = plan_of(video, uncertainty="maps", draws=3, seed=9, temporal="off")
    assert len(list(chain.upscaled(plan, PlainResize(), chain.prepare(plan.options, PlainResize()), None, 0))) == 6
    assert seen == [(Path("maps"), Draws(3, 9))]


@pytest.mark.parametrize(("fix", "temporal", "expected"), [
    ("adain", "pixel", True), ("adain", "off", False), ("wavelet", "pixel", False),
])  # fmt: skip
def test_a_video_under_adain_has_steady_tones(video, generator, fix, temporal, expected):
    plan, model = plan_of(video, temporal=temporal, cuts="off"), upscaler(generator, scale=1, color_fix=fix)
    frames = [Frame(sample_image(n, 16, 24), n) for n in range(4)]
    related = list(chain.related_steps(frames, plan, chain.prepare(plan.options, model), 0, 0))
    assert [step.tone is not None for step in related] == [expected] * 4


def test_a_live_frame_does_not_wait_for_those_that_are_looked_at_beside_it(video, monkeypatch):
    """On a machine where several pairs of frames are looked at at once."""
    monkeypatch.setattr(chain, "flow_threads", lambda *_: 4)
    plan, model, read = plan_of(video, temporal="pixel", cuts="off"), PlainResize(), []

    def read_before_the_first(live):
        read.clear()
        frames = (read.append(n) or Frame(sample_image(n, 16, 24), n) for n in range(6))
        next(chain.related_steps(frames, plan, chain.prepare(plan.options, model), 0, 0, live=live))
        return len(read)

    assert read_before_the_first(SimpleNamespace(wants_motion=lambda: True)) == 1 < read_before_the_first(None)


def test_the_time_code_of_the_images_reaches_the_file(video, tmp_path):
    plan = plan_video(video, tmp_path / "out.mov", 1, FAST, OFF)
    plan.source.info = dataclasses.replace(plan.info, timecode="01:02:03:04")
    assert carry_out(plan, PlainResize()).verification.ok
    with av.open(str(tmp_path / "out.mov")) as container:
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"


def test_a_disk_that_is_too_small_is_refused_before_work(video, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 9))
    with pytest.raises(OutputError, match="GB are needed there"):
        plan_of(video)


@pytest.mark.parametrize(("rate", "frames"), [(Fraction(25), 100), (Fraction(2), 24), (Fraction(120), 240)])
def test_a_segment_lasts_four_seconds(rate, frames):
    """So much at most is lost when a job is stopped; never fewer than three warm-ups, nor more than memory likes."""
    assert VideoPlan.segment_frames.fget(SimpleNamespace(info=SimpleNamespace(frame_rate=rate))) == frames


def test_a_source_that_changes_while_its_sound_is_copied_gives_no_result(video, tmp_path, monkeypatch):
    real = finish.assemble_result

    def assemble(*words):
        result = real(*words)
        write_video(video, [512 * n for n in range(9)], size=(16, 24))
        return result

    monkeypatch.setattr(finish, "assemble_result", assemble)
    with pytest.raises(MediaError, match="changed during the work"):
        upscale_video(video, tmp_path / "out.mkv", PlainResize(), FAST, OFF)
    assert not (tmp_path / "out.mkv").exists()


def test_a_target_that_appears_at_the_last_moment_stays(tmp_path, monkeypatch):
    part, place = tmp_path / "part", tmp_path / "out.mkv"
    part.write_text("ours")
    monkeypatch.setattr(target, "check_replaceable", lambda *_: place.write_text("theirs"))  # right behind the check
    with pytest.raises(OutputError, match="appeared in the meantime"):
        target.put_in_place(part, place, overwrite=False)
    assert place.read_text() == "theirs" and part.read_text() == "ours"


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_images_lose_little(tmp_path, suffix):
    grain = np.random.default_rng(0).integers(0, 60, (64, 96, 1), dtype=np.uint8)
    page = grain + sample_image(3, 64, 96) // 2
    write_image(tmp_path / f"a{suffix}", ImageFile(page))
    assert np.abs(read_image(tmp_path / f"a{suffix}").image.astype(int) - page).mean() < 10


def test_the_model_sees_no_dark_ring_around_what_is_visible():
    """Colours of invisible pixels are anything, often black; a resize would draw them in."""
    image, alpha = np.zeros((12, 12, 3), np.uint8), np.zeros((12, 12), np.uint8)
    image[4:8, 4:8], alpha[4:8, 4:8] = (200, 100, 50), 255
    assert (ImageFile(image, alpha).model_input[3:9, 3:9] == (200, 100, 50)).all()


def test_grey_is_the_rounded_mean():
    image = np.array([[[10, 10, 11], [10, 11, 11], [0, 0, 0], [255, 255, 254]]], np.uint8)
    assert pixels_of(ImageFile(image, is_grey=True))[0, :, 0].tolist() == [10, 11, 0, 255]


@pytest.mark.parametrize("layout", ["side", "split"])
def test_the_first_is_on_the_left(layout):
    first, second = np.full((8, 12, 3), 50, np.uint8), np.full((8, 12, 3), 150, np.uint8)
    shown = compose(first, second, layout)
    assert (shown[:, :3] == 50).all() and (shown[:, -3:] == 150).all()


def test_the_time_left_counts_new_frames_alone():
    progress = Progress(frames=30, total=50, elapsed_s=10.0, resumed=10)
    assert (progress.fps, progress.eta_s) == (2.0, 10.0)


@pytest.mark.parametrize(
    ("name", "model", "scale", "deinterlace"),
    [
        ("vhs", "lite", 2, "on"), ("dvd", "lite", 2, "on"), ("film-scan", "lite-faithful", 2, "off"),
        ("web", "lite", 4, "off"), ("animation", "lite", 4, "off"),
    ],
)  # fmt: skip
def test_presets_fit_their_material(name, model, scale, deinterlace):
    """Tapes and discs have fields, scans and videos of the web do not."""
    preset = read_preset(name)
    assert (preset.model, preset.image.scale, preset.video.deinterlace) == (model, scale, deinterlace)


@pytest.mark.parametrize("kept", [True, False])
def test_tones_that_the_blend_brought_from_other_frames_go(generator, kept):
    image = sample_image(0, 32, 48)
    step = Step(1, Frame(image, 1), None, draft=Draft(image), output=image + np.uint8(20))
    result = chain.last_image(step, upscaler(generator, scale=1, keep_tones=kept))
    assert abs(result.mean() - image.mean() - (0 if kept else 20)) < 0.5


def test_what_waits_for_the_encoder_is_one_image(generator):
    image = sample_image(0, 32, 48)
    blended = image + np.uint8(20)
    step = Step(0, Frame(image, 0), None, draft=Draft(image), output=blended)
    model = upscaler(generator, scale=1)
    (left,) = chain.leaving([step], Treatments((), VideoOptions(), model))
    assert left.draft is None and left.output is None
    assert chain.finished(left).image is blended


@pytest.mark.parametrize(("least_bytes", "times"), [(0, 3), (3 * 2 * 16 * 24 * 3, 2), (10**9, 0)])
def test_freed_memory_is_given_back_now_and_then(video, monkeypatch, least_bytes, times):
    calls = []
    monkeypatch.setattr(chain, "GIVEN_BACK_FRAMES", 2)
    monkeypatch.setattr(chain, "GIVEN_BACK_BYTES", least_bytes)
    monkeypatch.setattr(chain, "give_back_heap", lambda: calls.append(None))
    plan = plan_of(video, temporal="off")
    assert len(list(chain.upscaled(plan, PlainResize(1), chain.prepare(plan.options, PlainResize(1)), None, 0))) == 6
    assert len(calls) == times


def test_each_frame_is_finished_as_its_shot_asks(video, tmp_path, generator, monkeypatch):
    (tmp_path / "shots.toml").write_text("[[shot]]\nstart = 0.1\nkeep_tones = true\n")
    plan, model = plan_of(video, shots=str(tmp_path / "shots.toml"), cuts="off"), upscaler(generator, scale=1)
    asked, real = [], chain.last_image

    def last_image(step, own):
        asked.append(own.options.keep_tones)
        return real(step, own)

    monkeypatch.setattr(chain, "last_image", last_image)
    list(chain.upscaled(plan, model, chain.prepare(plan.options, model), None, 0))
    assert asked == [False] * 3 + [True] * 3  # the fourth of 25 a second is the first after 0.1 s


def test_the_motion_is_estimated_as_asked(monkeypatch, generator):
    monkeypatch.setattr("osediff_video.temporal.raft.load_raft", lambda path, *_: f"raft of {path}")
    model = upscaler(generator)
    assert chain.prepare(VideoOptions(flow="x.pth"), model).estimate == "raft of x.pth"
    assert chain.prepare(VideoOptions(), model).estimate is chain.dis_flow


def test_what_is_taken_up_later_is_as_if_all_had_been_read(tmp_path, generator):
    """The blend, steady colours and cuts look back; what they need is read again."""
    draw = np.random.default_rng(0)
    for n in range(54):
        image = np.clip(sample_image(n // 2, 24, 32) + draw.integers(-9, 9, (24, 32, 3)), 0, 255).astype(np.uint8)
        write_image(tmp_path / f"{n:03d}.png", ImageFile(image))
    plan = plan_video(tmp_path, tmp_path.with_name("made"), 1, FAST, VideoOptions(fps=Fraction(6)))
    model = upscaler(generator, scale=1, color_fix="adain")
    whole, later = (
        [frame.image for _, frame in chain.upscaled(plan, model, chain.prepare(plan.options, model), None, skip)]
        for skip in (0, 48)
    )
    assert len(later) == 6 and all(np.array_equal(a, b) for a, b in zip(whole[48:], later, strict=True))


def test_damaged_frames_of_a_folder_are_stood_in_for_when_allowed(tmp_path):
    for n in range(3):
        write_image(tmp_path / f"{n}.png", ImageFile(sample_image(n, 16, 24)))
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="--allow-damaged"):
        open_source(tmp_path, VideoOptions())
    source, _ = open_source(tmp_path, VideoOptions(allow_damaged=True))
    assert len(list(source.frames())) == 3 and source.faults.repeated == [1]


def test_the_second_frame_comes_before_the_tenth(tmp_path):
    names = ["f10.png", "f2.png", "f1.png", "f2b.png", "e3.png"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in list_frames(tmp_path)] == ["e3.png", "f1.png", "f2.png", "f2b.png", "f10.png"]


@pytest.mark.parametrize(("said", "shown"), [({}, 100), ({"duration": 10}, 100), ({"duration": 40}, 40)])
def test_frames_of_next_to_no_duration_are_shown_as_browsers_show_them(said, shown):
    assert AnimationSource.duration(SimpleNamespace(load=lambda: None, info=said)) == shown
