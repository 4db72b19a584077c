"""Mutated images of every format: a short run, and a long one among the slow tests."""

import pytest

from tests.support.image_fuzz import fuzz_images


@pytest.mark.parametrize(("count", "seed"), [(90, 1), pytest.param(720, 2, marks=pytest.mark.slow)])
def test_mutated_images_end_in_success_or_one_clear_error(tmp_path, count, seed):
    outcomes, wrong = fuzz_images(count, seed, tmp_path)
    assert not wrong
    assert outcomes["done"] and outcomes["refused"] and not outcomes["traceback"]
