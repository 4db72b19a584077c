"""What is done on a device equals what the CPU does (tensors of the CPU stand for those of a device)."""

import numpy as np
import pytest
import torch
from PIL import Image

from image_core.device.bicubic import enlarge_levels
from image_core.device.transfer import upload
from image_core.images import enlarge

CPU = torch.device("cpu")
SIZES = [
    ((45, 80), (180, 320)), ((45, 33), (90, 66)), ((45, 33), (131, 97)), ((37, 51), (111, 153)), ((64, 40), (64, 100)),
    ((1, 5), (4, 20)), ((37, 3), (37, 12)), ((100, 90), (61, 47)), ((30, 90), (60, 31)), ((20, 30), (20, 30)),
    ((7, 9), (300, 411)), ((301, 199), (5, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "goal"), SIZES)
def test_images_are_enlarged_bit_for_bit_as_by_pillow(size, goal):
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2)]
    images[1] = images[1] // 128 * 255  # black beside white overshoots
    expected = [np.asarray(Image.fromarray(image).resize(goal[::-1], Image.BICUBIC)) for image in images]
    result = enlarge_levels(upload(images, CPU), *goal).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(result, np.stack(expected))


@pytest.mark.parametrize(("size", "goal"), [*SIZES[1:3], SIZES[7], SIZES[9]])
def test_images_of_16_bits_within_a_level(size, goal):
    image = np.random.default_rng(0).integers(0, 65536, (*size, 3), dtype=np.uint16)
    result = enlarge_levels(upload([image], CPU), *goal)[0].permute(1, 2, 0).numpy()
    assert np.abs(result - enlarge(image, *goal)).max() <= 1
