"""Numbers of tiny models in tests/golden: they were made by code that gave the published numbers (tests/oracle).

A clone without the published code's own files notices with them when the arithmetic of any stage changes.
"""

import json

import numpy as np
import pytest

from tests.golden.generator import FOLDER, numbers

GOLDEN = json.loads((FOLDER / "generator.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    return numbers(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in GOLDEN for name in GOLDEN[part]])
def test_the_arithmetic_is_as_it_was_when_it_was_compared(part, name, computed):
    expected, actual = np.array(GOLDEN[part][name]), np.array(computed[part][name])
    whole = name in ("tokens", "enlarged")
    level = name in ("adain", "wavelet")  # rounded to levels: the last bit of float32 may decide one
    limit = 0 if whole else 1 if level else 2e-4 * np.abs(expected).max()
    assert actual.shape == expected.shape and np.abs(actual - expected).max() <= limit


def test_nothing_is_computed_that_is_not_compared(computed):
    assert {part: set(names) for part, names in computed.items()} == {p: set(names) for p, names in GOLDEN.items()}
