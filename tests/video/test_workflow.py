"""Around a job: a look before it, a sample of it, and what is left of it when it is stopped."""

from fractions import Fraction

import numpy as np
import pytest

from image_core.errors import OseDiffError, OutputError
from osediff_video import (
    Encoding,
    ImagePlan,
    VideoOptions,
    VideoPlan,
    discard_unfinished,
    preview,
    probe,
    read_frame,
    unfinished_frames,
    upscale,
)
from osediff_video.images.image_file import ImageFile, read_image, write_image
from osediff_video.job.folder import job_folder
from osediff_video.media.probe import probe as probe_video
from osediff_video.plain_resize import PlainResize
from tests.support.media_files import FAST, read, read_times, sample_image, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("in") / "in.mkv", [512 * n for n in range(60)], size=(36, 50))


def stop_after(frames):
    def progress(state):
        if state.frames >= frames:
            raise KeyboardInterrupt

    return progress


def test_a_preview_shows_the_same_frames_before_and_after(video, tmp_path):
    shown = preview(video, tmp_path, model=PlainResize(1.5), at_s=Fraction(1), seconds=0.4, encoding=FAST)
    before, after = probe_video(shown.before), probe_video(shown.after)
    # 54 x 75 has an odd side, which browsers' H.264 has not
    assert (before.height, before.width) == (after.height, after.width) == (54, 76)
    assert before.pix_fmt == after.pix_fmt == "yuv420p" and before.codec == after.codec == "h264"
    assert read_times(shown.before) == read_times(shown.after) and shown.frames == len(read_times(shown.after)) == 10
    middle = [read(path)[5].image.astype(float) for path in (shown.before, shown.after)]
    assert np.abs(middle[0] - middle[1]).mean() < 6
    assert np.abs(middle[0][:, -1] - middle[0][:, 0]).mean() > 60  # of the gradient, not of a black image
    assert shown.whole_s == pytest.approx(shown.elapsed_s / 10 * 60) and shown.whole_bytes > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.mp4", "before.mp4"]


def test_the_whole_that_a_preview_estimates_is_what_is_selected(video, tmp_path):
    half = VideoOptions(start_s=Fraction(0), end_s=Fraction(12, 10))
    shown = preview(video, tmp_path, model=PlainResize(), seconds=0.2, video=half, encoding=FAST)
    assert shown.whole_s == pytest.approx(shown.elapsed_s / shown.frames * 30, rel=0.05)


def test_a_preview_of_an_image_is_its_middle(tmp_path):
    image = sample_image(0, 500, 700)
    write_image(tmp_path / "in.png", ImageFile(image))
    (tmp_path / "out").mkdir()
    shown = preview(tmp_path / "in.png", tmp_path / "out", model=PlainResize(2.0), suffix=".png")
    before, after = read_image(shown.before).image, read_image(shown.after).image
    assert before.shape == after.shape == (768, 768, 3)
    assert np.abs(before[::2, ::2].astype(int) - image[58:442, 158:542]).mean() < 5
    assert shown.whole_s == pytest.approx(shown.elapsed_s * 500 * 700 / 384**2)


def test_probe_plans_videos_and_images_and_takes_a_folder_for_the_usual_name(video, tmp_path):
    plan = probe(video, tmp_path, scale=2)
    assert isinstance(plan, VideoPlan) and plan.target == tmp_path / "in_x2.mkv" and plan.height == 72
    write_image(tmp_path / "in.png", ImageFile(sample_image(0, 16, 24, np.uint16)))
    plan = probe(tmp_path / "in.png", size="40")
    assert isinstance(plan, ImagePlan) and plan.target == tmp_path / "in_40.png"
    assert (plan.height, plan.width, plan.source_size, plan.bit_depth) == (40, 60, (16, 24), 16)
    assert "16 bits become 8" in probe(tmp_path / "in.png", tmp_path / "out.jpg").notes[0]
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
    (tmp_path / "in_x2.png").touch()
    with pytest.raises(OutputError, match="already exists"):
        probe(tmp_path / "in.png", scale=2)


def test_one_frame_is_read_at_its_time(video, tmp_path):
    assert np.abs(read_frame(video, 1.0).astype(int) - sample_image(25, 36, 50)).mean() < 6
    within_the_last = read_frame(video, 59.5 / 25)
    assert np.abs(within_the_last.astype(int) - sample_image(59, 36, 50)).mean() < 6
    write_image(tmp_path / "in.png", ImageFile(sample_image(0, 16, 24)))
    assert np.array_equal(read_frame(tmp_path / "in.png"), sample_image(0, 16, 24))
    for path, at_s in ((video, 9.0), (tmp_path / "none.mkv", 0.0)):
        with pytest.raises(OseDiffError):
            read_frame(path, at_s)


def test_unfinished_work_is_counted_and_discarded(tmp_path):
    video = write_video(tmp_path / "in.mkv", [512 * n for n in range(130)], size=(16, 24))
    target = tmp_path / "out.mkv"
    assert unfinished_frames(target) is None
    discard_unfinished(target)
    with pytest.raises(KeyboardInterrupt):
        upscale(video, target, model=PlainResize(), encoding=Encoding("ffv1"), progress=stop_after(120))
    assert unfinished_frames(target) == 100 and job_folder(target).is_dir()
    discard_unfinished(target)
    assert not job_folder(target).exists() and unfinished_frames(target) is None
    job_folder(target).mkdir()
    (job_folder(target) / "theirs").touch()
    with pytest.raises(OutputError, match="theirs"):
        discard_unfinished(target)
