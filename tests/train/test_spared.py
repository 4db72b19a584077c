"""What an adversary may ask of an image: nothing where only size was lost, all where a codec or a lens took more."""

import cv2
import numpy as np
import pytest
import torch

from image_core.images import enlarge, to_tensor
from train.config import LossConfig, RecipeError
from train.data.damage import jpeg
from train.losses.spared import judged, relative_errors


@pytest.fixture(scope="module")
def high():
    """Texture with edges, (96, 96, 3) uint8."""
    rng = np.random.default_rng(4)
    image = cv2.GaussianBlur(rng.normal(0, 1, (96, 96, 3)), (0, 0), 1.2) * 90 + 120
    image[30:60, 20:70] += 70
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def small(high):
    return cv2.resize(high, (24, 24), interpolation=cv2.INTER_AREA)


def tensors(high, low):
    return (to_tensor([image]) for image in (enlarge(low, 96, 96), high))


def error(high, low):
    large, truth = tensors(high, low)
    return relative_errors(truth, large)[0].item()


def test_what_was_only_made_small_is_as_far_as_a_resize_whatever_it_shows(high):
    assert error(high, small(high)) == pytest.approx(1, abs=0.1)
    pale = high // 8 + 100
    assert error(pale, small(pale)) == pytest.approx(1, abs=0.1)


def test_every_damage_is_further_the_stronger_it_is(high):
    low, rng = small(high), np.random.default_rng(0)
    noisy = [np.clip(low + rng.normal(0, sigma, low.shape), 0, 255).astype(np.uint8) for sigma in (15, 40)]
    soft = [cv2.GaussianBlur(low, (0, 0), sigma) for sigma in (1, 2)]
    stored = [jpeg(low, (quality, quality), rng) for quality in (40, 5)]
    for weak, strong in (noisy, soft, stored):
        assert 1.04 < error(high, weak) < error(high, strong)


def test_a_flat_image_is_never_far(high):
    flat = np.full_like(high, 90)
    nearly = flat.copy()
    nearly[::8] += 1
    assert error(flat, small(flat)) == 1 == error(nearly, small(flat))


def test_between_nothing_and_all_it_grows_with_the_error(high):
    lows = [small(high), cv2.GaussianBlur(small(high), (0, 0), 0.6), cv2.GaussianBlur(small(high), (0, 0), 3)]
    pairs = [tuple(tensors(high, low)) for low in lows]
    low, truth = (torch.cat(images) for images in zip(*pairs, strict=True))
    (errors,) = relative_errors(truth, low)
    share = 2 * (errors[1].item() ** 0.5 - 1)
    assert judged(errors, share).tolist() == pytest.approx([0, 0.5, 1], abs=0.1)


def test_honesty_without_anybody_spared_is_refused():
    with pytest.raises(RecipeError, match=r"loss.honest.*loss.spared"):
        LossConfig(honest=1.0)
    with pytest.raises(RecipeError, match=r"loss.spared.*adversarial"):
        LossConfig(spared=0.1)
