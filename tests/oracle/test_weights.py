"""With the published weights: the images that the authors published for RealSR, within the spread of their own draws.

Needs the model `sd21` (osediff models pull sd21 --tagger) and ../shared: `pytest -m weights`. With
OSEDIFF_REQUIRE_WEIGHTS=1 a machine without them fails instead of skipping. Hours on a CPU, a minute on a card.
"""

import csv
import os

import numpy as np
import pytest

from image_core.errors import ModelNotFoundError
from image_core.models.catalogue import find_model
from osediff_video import load_upscaler
from osediff_video.images.image_file import read_image
from osediff_video.metrics.image import image_scores, luma, psnr

pytestmark = pytest.mark.weights
LEAST_PSNR_TO_PUBLISHED, MOST_PSNR_APART, MOST_SSIM_APART = 30.0, 0.4, 0.02
"""Their result is one draw from the posterior of the encoder, rounded down twice; ours is its mode, rounded once."""


@pytest.fixture(scope="module")
def model():
    try:
        find_model("sd21")
    except ModelNotFoundError as error:
        if os.environ.get("OSEDIFF_REQUIRE_WEIGHTS") == "1":
            pytest.fail(f"OSEDIFF_REQUIRE_WEIGHTS=1, but {error}", pytrace=False)
        pytest.skip("the model sd21 is not on this machine: osediff models pull sd21 --tagger")
    return load_upscaler("sd21")


def test_realsr_is_restored_as_published(model, shared):
    folder = shared / "data" / "bench" / "RealSR20"
    with (folder / "official_metrics.csv").open() as file:
        published = {row["image"]: row for row in csv.DictReader(file)}
    closeness, ours = [], []
    for name in published:
        result = model([read_image(folder / "LR" / name).image])[0]
        theirs = read_image(folder / "official_osediff" / name).image
        reference = read_image(folder / "HR" / name).image
        closeness.append(psnr(luma(result), luma(theirs)))
        ours.append(image_scores(result, reference))
    assert len(ours) == 20 and np.mean(closeness) > LEAST_PSNR_TO_PUBLISHED
    for score, most in (("psnr", MOST_PSNR_APART), ("ssim", MOST_SSIM_APART)):
        theirs = np.mean([float(row[score]) for row in published.values()])
        assert abs(np.mean([one[f"{score}_y"] for one in ours]) - theirs) < most
