"""A job that cannot lie: what was changed on the disk is noticed, and nothing of anybody else is touched."""

import json
import os
import random
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from image_core.errors import MediaError, OutputError
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.encoding import Encoding
from osediff_video.job.folder import job_folder
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import plan_video
from osediff_video.run import carry_out, upscale_video
from tests.support.media_files import FAST, copy, packets, read, sample_image, write_video
from tests.support.tiny_lite import random_generator, upscaler
from tests.video.test_job import UNEVEN, content, stopped_copy

LOSSLESS = Encoding("ffv1")
"""Encoders of small images with losses give other bits each time (x264 below 200 px), this one never."""


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    return write_video(folder / "video.mp4", UNEVEN, sound_from=Fraction(0), options={"bf": "2"})


@pytest.fixture(scope="module")
def unfinished(video, tmp_path_factory):
    """The folder of a job stopped after two of three segments, and what the uninterrupted result holds."""
    target = tmp_path_factory.mktemp("unfinished") / "out.mkv"
    stopped_copy(video, target, 235, LOSSLESS)
    whole = target.with_name("whole.mkv")
    copy(video, whole, LOSSLESS)
    return job_folder(target), content(whole)


def flip(path, draw):
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def zero(path, draw):
    data = bytearray(path.read_bytes())
    place = draw.randrange(max(1, len(data) - 40))
    data[place : place + 40] = bytes(len(data[place : place + 40]))
    path.write_bytes(data)


def cut_short(path, draw):
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def replace_by_other(path, draw):
    others = sorted(other for other in path.parent.glob(f"*{path.suffix}") if other != path)
    path.write_bytes(draw.choice(others).read_bytes())


def change_a_number(path, draw):
    values = json.loads(path.read_text())
    name = draw.choice([name for name, value in values.items() if isinstance(value, int | list)] or ["format"])
    if isinstance(values.get(name), list):
        values[name][draw.randrange(len(values[name]))] += 1
    else:
        values[name] = 7
    path.write_text(json.dumps(values))


def garbage(path, draw):
    path.write_text(
        draw.choice(["{}", "[1]", "null", '"x"', "", "[" * 100_000, '{"index": 0, "order": ["a"]}', "9" * 5000])
    )


def remove(path, draw):  # noqa: ARG001 - as the others
    path.unlink()


TAMPERED = [
    (name, harm, seed)
    for seed, (name, harm) in enumerate(
        [
            (name, harm)
            for name in ("00000.mkv", "00001.mkv")
            for harm in (flip, flip, flip, zero, zero, cut_short, cut_short, remove, garbage)
        ]
        + [(name, replace_by_other) for name in ("00000.mkv", "00001.mkv", "00000.json")]
        + [(name, harm) for name in ("00000.json", "00001.json") for harm in (flip, flip, change_a_number, cut_short)]
        + [(name, garbage) for name in ("00000.json", "00001.json") for _ in range(4)]
        + [("manifest.json", harm) for harm in (flip, change_a_number, cut_short, remove, garbage, garbage, garbage)]
    )
]


def first_of_each(rows):
    """Mark what differs from a row before in nothing but its seed as slow."""
    kinds = [row[:2] for row in rows]
    return [pytest.param(*row, marks=[pytest.mark.slow] * (row[:2] in kinds[:n])) for n, row in enumerate(rows)]


@pytest.mark.parametrize(("name", "harm", "seed"), first_of_each(TAMPERED))
def test_a_changed_job_gives_the_right_result_or_none(video, unfinished, tmp_path, name, harm, seed):
    folder, expected = unfinished
    target = tmp_path / "out.mkv"
    shutil.copytree(folder, job_folder(target))
    harm(job_folder(target) / name, random.Random(seed))
    try:
        copy(video, target, LOSSLESS)
    except OutputError as error:
        assert "--restart" in str(error) and not target.exists()
        copy(video, target, LOSSLESS, restart=True)
    assert content(target) == expected and not job_folder(target).exists()


def test_a_segment_that_changes_while_the_job_runs_is_made_again(video, unfinished, tmp_path):
    target, harmed = tmp_path / "out.mkv", []

    def progress(state):
        if state.frames > 210 and not harmed:
            harmed.append(True)
            flip(job_folder(target) / "00000.mkv", random.Random(3))

    result = upscale_video(video, target, PlainResize(), LOSSLESS, VideoOptions(temporal="off"), progress=progress)
    assert harmed and result.frames == 240 and result.verification.ok and content(target) == unfinished[1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
@pytest.mark.parametrize("codec", ["libx264", pytest.param("libx265", marks=pytest.mark.slow)])
def test_the_result_holds_the_images_of_the_segments_bit_for_bit(video, tmp_path, suffix, codec):
    check = copy(
        video, tmp_path / f"out{suffix}", Encoding(codec, preset="ultrafast", options={"bf": "2"})
    ).verification
    assert check.same_images and check.ok


def test_other_images_at_the_right_times_are_noticed(video, tmp_path, monkeypatch):
    from osediff_video import finish

    def change_one(assembly, part, suffix):
        assembled = assemble(assembly, part, suffix)
        data = part.read_bytes()
        image = max((data for _, data in packets(part, "video")), key=len)
        part.write_bytes(data.replace(image, image[:-9] + bytes([image[-9] ^ 1]) + image[-8:]))
        return assembled

    assemble = finish.assemble
    monkeypatch.setattr(finish, "assemble", change_one)
    with pytest.raises(OutputError, match="other images than were encoded"):
        copy(video, tmp_path / "out.mkv")
    assert not (tmp_path / "out.mkv").exists() and list(job_folder(tmp_path / "out.mkv").glob("*.json"))


def test_a_source_that_is_replaced_meanwhile_gives_no_result(video, tmp_path):
    source, target, done = tmp_path / "in.mp4", tmp_path / "out.mkv", []
    shutil.copy(video, source)
    write_video(tmp_path / "other.mp4", UNEVEN, images=[sample_image(n + 9) for n in range(240)])

    def progress(state):
        if state.frames > 150 and not done:
            done.append((tmp_path / "other.mp4").replace(source))

    with pytest.raises(MediaError, match="changed during the work"):
        upscale_video(source, target, PlainResize(), FAST, VideoOptions(temporal="off"), progress=progress)
    assert done and not target.exists()


def test_segments_without_a_manifest_count_for_nothing(video, unfinished, tmp_path):
    target = tmp_path / "out.mkv"
    shutil.copytree(unfinished[0], job_folder(target))
    (job_folder(target) / "manifest.json").unlink()
    assert copy(video, target, Encoding(preset="veryfast", crf=40)).resumed == 0
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_a_folder_that_is_not_ours_alone_is_refused_and_stays(video, tmp_path):
    theirs, target = tmp_path / "letters", tmp_path / "out.mkv"
    theirs.mkdir()
    (theirs / "letter.txt").write_text("dear")
    job_folder(target).symlink_to(theirs)
    for restart in (False, True):
        with pytest.raises(OutputError, match="is a link"):
            copy(video, target, restart=restart)
    job_folder(target).unlink()
    job_folder(target).mkdir()
    (job_folder(target) / "letter.txt").write_text("dear")
    for restart in (False, True):
        with pytest.raises(OutputError, match=r"letter\.txt"):
            copy(video, target, restart=restart)
    assert (job_folder(target) / "letter.txt").exists() and (theirs / "letter.txt").exists()
    (job_folder(target) / "letter.txt").unlink()
    (job_folder(target) / "00000.mkv").symlink_to(theirs / "letter.txt")
    with pytest.raises(OutputError, match=r"the link 00000\.mkv"):
        copy(video, target)
    assert (theirs / "letter.txt").read_text() == "dear"


def test_an_interrupted_export_of_frames_can_be_started_over(video, tmp_path):
    target = tmp_path / "frames"
    stopped_copy(video, target.with_suffix(".mkv"), 150)
    job_folder(target.with_suffix(".mkv")).rename(job_folder(target))
    (job_folder(target) / "result").mkdir()
    (job_folder(target) / "result" / "frame_00000001.png").write_bytes(b"half")
    frames = tmp_path / "in"
    frames.mkdir()
    for number in range(3):
        Image.fromarray(sample_image(number)).save(frames / f"{number}.png")
    assert copy(frames, target, restart=True).frames == 3 and len(list(target.iterdir())) == 3


LONG, RATE = [2048 * n for n in range(240)], Fraction(25, 4)
"""Segments of 25 frames."""


def test_a_long_video_is_resumed_near_the_place_and_not_from_its_start(tmp_path):
    source = write_video(tmp_path / "in.mp4", LONG, options={"g": "12", "bf": "2"})
    target, whole = tmp_path / "out.mkv", tmp_path / "whole.mkv"
    options = VideoOptions(temporal="pixel")
    upscale_video(source, whole, PlainResize(), LOSSLESS, options)
    stopped_copy(source, target, 230, LOSSLESS, temporal="pixel")
    plan = plan_video(source, target, 1, LOSSLESS, options)
    decode, decoded = plan.source.decode, []

    def counted(*arguments, **named):
        for frame in decode(*arguments, **named):
            decoded.append(frame)
            yield frame

    plan.source.decode = counted
    result = carry_out(plan, PlainResize())
    assert result.resumed == 225 and len(decoded) < 130
    assert [f.image.tobytes() for f in read(target)] == [f.image.tobytes() for f in read(whole)]


def test_a_bookmark_that_does_not_fit_is_not_believed(tmp_path):
    from osediff_video.sources.open import open_source
    from osediff_video.types import Bookmark, checksum_of

    source, _ = open_source(write_video(tmp_path / "in.mp4", LONG), VideoOptions())
    frames = list(source.frames())
    right = Bookmark(200, frames[200].pts, checksum_of(frames[200].image))
    assert next(source.frames(200, right)).pts == frames[200].pts
    for wrong in (Bookmark(200, frames[200].pts + 1, 0), Bookmark(200, frames[200].pts, 0), Bookmark(200, 10**9, 0)):
        assert [f.pts for f in source.frames(200, wrong)] == [f.pts for f in frames[200:]]


def test_a_resumed_job_computes_as_the_first_run_did(video, tmp_path):
    target = tmp_path / "out.mkv"
    stopped_copy(video, target, 150, LOSSLESS)
    path = job_folder(target) / "manifest.json"
    values = read_sealed(path)
    assert values["computation"]["threads"] == 1 and values["computation"]["workload"] == {"batch": 1, "tile_px": None}
    values["computation"] |= {"threads": 2, "workload": {"batch": 3, "tile_px": 256}}
    write_sealed(path, values)
    used = []

    class Watched(PlainResize):
        def use_workload(self, height, width, workload):
            used.append((height, width, workload.batch, workload.tile_px, torch.get_num_threads()))

    assert upscale_video(video, target, Watched(), LOSSLESS, VideoOptions(temporal="off")).resumed
    assert used == [(48, 64, 3, 256, 2)] and torch.get_num_threads() == 1
    stopped_copy(video, tmp_path / "other.mkv", 150, LOSSLESS)
    path = job_folder(tmp_path / "other.mkv") / "manifest.json"
    values = read_sealed(path)
    values["computation"]["device"] = "cuda"
    write_sealed(path, values)
    with pytest.raises(OutputError, match="device was cuda, is cpu"):
        copy(video, tmp_path / "other.mkv", LOSSLESS)


@pytest.mark.parametrize("temporal", ["pixel", "off"])
@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_resuming_is_bit_equal_under_adain_with_repeated_frames(tmp_path, temporal, batch):
    drawn = [np.random.default_rng(n // 3).integers(0, 255, (24, 32, 3), np.uint8) for n in range(90)]
    drawn[42:82] = [drawn[42]] * 40  # a still that lasts longer than what is remembered
    source = write_video(
        tmp_path / "in.mkv", LONG[:90], images=drawn, codec="ffv1", pix_fmt="bgr0", tags=None, size=(24, 32), rate=RATE
    )
    model = upscaler(random_generator(), scale=2, color_fix="adain", batch=batch)
    options = VideoOptions(temporal=temporal)
    upscale_video(source, tmp_path / "whole.mkv", model, LOSSLESS, options)
    for stop_at in (30, 85):
        target = tmp_path / f"{stop_at}.mkv"

        def progress(state, stop_at=stop_at):
            if state.frames >= stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            upscale_video(source, target, model, LOSSLESS, options, progress=progress)
        assert upscale_video(source, target, model, LOSSLESS, options).resumed
        for number, (one, other) in enumerate(zip(read(target), read(tmp_path / "whole.mkv"), strict=True)):
            assert np.array_equal(one.image, other.image), number


def test_the_same_call_again_finds_its_result_finished(video, tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mkv"
    shutil.copy(video, source)
    copy(source, target)
    written = target.stat()
    again = copy(source, target)
    assert again.already_finished and again.frames == 240 and again.complete and target.stat() == written
    for other in ({"scale": 2}, {"temporal": "pixel"}):
        with pytest.raises(OutputError, match="other settings"):
            copy(source, target, **other)
    assert not copy(source, target, overwrite=True).already_finished
    os.utime(target)
    with pytest.raises(OutputError, match="already exists"):
        copy(source, target)
    copy(source, target, overwrite=True)
    write_video(source, UNEVEN[:100])
    with pytest.raises(OutputError, match="made of another source"):
        copy(source, target)


def test_a_result_that_misses_something_is_not_taken_for_finished(video, tmp_path):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mkv"
    copy(video, tmp_path / "whole.mp4")  # its index stands at the beginning
    source.write_bytes((tmp_path / "whole.mp4").read_bytes()[: (tmp_path / "whole.mp4").stat().st_size // 2])
    assert not copy(source, target).complete
    with pytest.raises(OutputError, match="already exists"):
        copy(source, target)
