"""A short run of the fuzzer; `python -m tests.support.fuzz` is the long one."""

import pytest

from tests.support.fuzz import fuzz, seeds


@pytest.mark.slow
def test_mutated_videos_end_in_success_or_one_clear_error(tmp_path):
    for name in ("videos", "work"):
        (tmp_path / name).mkdir()
    outcomes, wrong = fuzz(seeds(tmp_path / "videos"), 60, 1, tmp_path / "work")
    assert not wrong
    assert outcomes["refused"] and outcomes["incomplete"] and outcomes["done"]
