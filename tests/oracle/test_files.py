"""What real images and real videos of ../shared show."""

import csv

import cv2
import numpy as np
import pytest

from image_core.errors import OutputError
from osediff_video.images.image_file import read_image
from osediff_video.media.extras import DOLBY_VISION, find_extras
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.media.stream_plan import plan_streams
from osediff_video.metrics.image import grid, image_scores, luma, psnr, ssim
from tests.image_core.test_lite_guards import model, overshoot, plain, small  # noqa: F401 - model is a fixture
from tests.support.media_files import copy
from tests.train.test_clips import needs_decord
from train.data.clips import index_video, read_frames, read_with_decord


def test_a_face_comes_out_better_than_by_a_resize(model, shared):  # noqa: F811
    reference = cv2.imread(str(shared / "data/val/kodak24/kodim15.png"), cv2.IMREAD_COLOR_RGB)[40:424, 160:544]
    low = small(reference)
    result, resized, truth = luma(model(low)), luma(plain(low)), luma(reference)
    assert psnr(result, truth) > psnr(resized, truth)
    assert ssim(result, truth) > ssim(resized, truth)
    assert grid(result) < grid(resized)
    assert overshoot(model(low), reference) < 1


def test_the_official_values_are_reproduced(shared):
    folder = shared / "data" / "bench" / "RealSR20"
    with (folder / "official_metrics.csv").open() as file:
        expected = {row["image"].rsplit(".", 1)[0]: row for row in csv.DictReader(file)}
    results = sorted((folder / "official_osediff").iterdir())
    references = {path.stem.replace("_HR", "_LR4"): path for path in (folder / "HR").iterdir()}
    compared = 0
    for path in results:
        if path.stem not in expected:
            continue
        actual = image_scores(read_image(path).image, read_image(references[path.stem]).image)
        assert abs(actual["psnr_y"] - float(expected[path.stem]["psnr"])) < 1e-3
        assert abs(actual["ssim_y"] - float(expected[path.stem]["ssim"])) < 1e-4
        compared += 1
    assert compared == 20


@needs_decord
def test_videos_that_decord_miscounts_are_read_with_pyav(shared):
    path = shared / "data/video/io/androidx_iibbibb_editlist_videoonly.mp4"
    index = index_video(path)
    assert read_with_decord(index, 0, 3) is None
    through = np.stack([frame.image for frame in VideoSource(probe(path)).frames()])
    assert np.array_equal(read_frames(path, 4, 3), through[4:7])


def test_a_phone_video_names_its_metadata_tracks_and_dynamic_hdr(shared, tmp_path):
    source = next((shared / "cases" / "ordinary").glob("iphone_mebx*.mov"))
    assert [plan.action for plan in plan_streams(source, "mov")] == ["upscale", "copy", "drop", "drop", "drop"]
    assert DOLBY_VISION in find_extras(source)[0]
    with pytest.raises(OutputError, match="Dolby Vision"):
        copy(source, tmp_path / "out.mov", strict=True)
