"""Images to tensors and back without losing a level; sizes that come out exactly."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from image_core.autoencoder import LiteAutoencoder, LiteAutoencoderConfig
from image_core.images import STRIP_PX, crop, enlarge, pad_to_multiple, scaled_size, to_images, to_levels, to_tensor


def noise(height, width, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, 3), dtype=dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_survives_the_round_trip(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    image = np.repeat(levels.reshape(256, -1, 1), 3, axis=2)
    tensor = to_tensor([image])
    assert tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_images(tensor, dtype)[0], image)


def test_values_are_rounded_and_clamped_not_truncated():
    tensor = torch.tensor([-2.0, 0.4 / 127.5 - 1, 0.6 / 127.5 - 1, 2.0]).repeat(1, 3, 1, 1)
    assert to_images(tensor, np.uint8)[0][0, :, 0].tolist() == [0, 0, 1, 255]


def test_enlarging_is_pils_bicubic():
    image = noise(20, 30)
    expected = np.asarray(Image.fromarray(image).resize((120, 80), Image.Resampling.BICUBIC))
    assert np.array_equal(enlarge(image, 80, 120), expected)


def test_deep_images_are_enlarged_by_the_same_filter_in_full_depth():
    # a smooth image: PIL rounds 8-bit images between its two passes, so noise would differ by more than a level
    ramp = np.linspace(0, 255, 40 * 30).reshape(40, 30, 1).repeat(3, 2).astype(np.uint8)
    deep = enlarge(ramp.astype(np.uint16) * 257, 100, 90)
    assert deep.dtype == np.uint16 and len(np.unique(deep)) > 256
    assert np.abs(deep / 257 - enlarge(ramp, 100, 90)).max() < 1.5


def test_a_image_of_the_right_size_is_not_copied():
    image = noise(9, 7)
    assert enlarge(image, 9, 7) is image


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 15), (37, 50)])
def test_padding_is_undone_by_cropping(size):
    tensor = to_tensor([noise(*size)])
    padded = pad_to_multiple(tensor, 8)
    assert padded.shape[-2] % 8 == padded.shape[-1] % 8 == 0
    assert torch.equal(crop(padded, *size), tensor)
    assert min(pad_to_multiple(tensor, 8, least=64).shape[-2:]) == 64


@pytest.mark.parametrize(("scale", "size"), [(1, (5, 7)), (4, (20, 28)), (1.5, (8, 10)), (8, (40, 56))])
def test_sizes_are_scale_times_the_input(scale, size):
    assert scaled_size(5, 7, scale) == size


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match="RGB image"):
        to_tensor([np.zeros((4, 4), np.uint8)])
    with pytest.raises(ValueError, match="float64"):
        enlarge(np.zeros((4, 4, 3)), 8, 8)


def most_bytes(work):
    """The most memory that tensors took at once, beside what was there before."""
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profile:
        work()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


def test_an_image_is_rounded_and_decoded_without_spare_copies():
    image = to_tensor([noise(512, 768)])
    strip = 4 * 3 * STRIP_PX
    assert most_bytes(lambda: to_levels(image, 255)) < image.nbytes / 4 + 2.5 * strip
    decoder = LiteAutoencoder(LiteAutoencoderConfig()).bfloat16().to(memory_format=torch.channels_last)
    latent = torch.zeros(1, 32, 64, 96, dtype=torch.bfloat16)
    features = 2 * 64 * 128 * 192  # bytes, in bfloat16
    assert most_bytes(lambda: decoder.decode(latent, image)) < 3.6 * features
