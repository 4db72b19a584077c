"""Says when the tests of tests/oracle are left out."""

import pytest

from tests.conftest import SHARED


def test_the_published_codes_own_files_are_compared_with():
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout: tests/oracle is left out; golden numbers of tests/golden stay")
    assert (SHARED / "oracle" / "README.md").is_file()
