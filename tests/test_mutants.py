"""Small breakages that the tests must notice: each still applies, and the command that tries them hides none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOM = """
# wiring: a toy
toy.py  `return a + b` -> `return a - b`  tests/test_toy.py::test_sum
toy.py  `return a * b` -> `return b * a`  tests/test_toy.py::test_product
toy.py  `LIMIT = 3` -> `LIMIT = 4`  tests/test_toy.py::test_that_fails_anyway
toy.py  `LIMIT = 3` -> `LIMIT = 5`  tests/test_toy.py::test_skipped
toy.py  `return a / b` -> `return a // b`  tests/test_toy.py::test_sum
toy.py  `return` -> `raise`  tests/test_toy.py::test_sum
toy.py  `LIMIT = 3` -> `LIMIT = 3  # the same`  tests/test_toy.py::test_sum
toy.py  `LIMIT = 3` -> `LIMIT = 6`  tests/test_toy.py::test_gone
toy.py  `LIMIT = 3` -> `LIMIT = 7`  equivalent: nobody reads it
"""
TOY = "LIMIT = 3\n\n\ndef add(a, b):\n    return a + b\n\n\ndef times(a, b):\n    return a * b\n"
TESTS = """
import pytest
import toy


def test_sum():
    assert toy.add(2, 3) == 5


def test_product():
    assert toy.times(2, 3) == 6


def test_that_fails_anyway():
    raise AssertionError


@pytest.mark.skip
def test_skipped():
    pass
"""
QUICK = "from benchmarks.mutants import trial, __main__; trial.LIBRARIES = []; __main__.main()"


def command(tree, *words):
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run([sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True)


def test_every_mutant_applies_and_names_tests_that_are_there():
    outcome = command(ROOT, "-m", "benchmarks.mutants", "--check")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert int(outcome.stdout.split()[0]) >= 150


@pytest.fixture
def tree(tmp_path):
    """The command in a tree of its own, with a program of two functions and one room."""
    shutil.copytree(ROOT / "benchmarks" / "mutants", tmp_path / "benchmarks" / "mutants")
    (tmp_path / "benchmarks" / "results").mkdir()
    for room in (tmp_path / "benchmarks" / "mutants").glob("*.txt"):
        room.unlink()
    (tmp_path / "benchmarks" / "mutants" / "toy.txt").write_text(ROOM, encoding="utf-8")
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_toy.py").write_text(TESTS)
    return tmp_path


def test_what_no_longer_applies_is_reported_and_fails(tree):
    outcome = command(tree, "-m", "benchmarks.mutants", "--check")
    assert outcome.returncode == 1 and "5 of 9 mutants apply" in outcome.stdout
    stale = [line.rpartition(": ")[2] for line in outcome.stdout.splitlines() if line.startswith("NO LONGER APPLIES")]
    assert stale == [
        "the old text stands there 0 times, expected once", "the old text stands there 2 times, expected once",
        "the new text says the same", "there is no tests/test_toy.py::test_gone",
    ]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="mutants are forked")
def test_each_outcome_is_told_apart(tree):
    outcome = command(tree, "-c", QUICK)
    rows = [json.loads(line) for line in (tree / "benchmarks" / "results" / "mutants.jsonl").read_text().splitlines()]
    assert [row["outcome"] for row in rows] == [
        "noticed", "SURVIVED", "FAILS WITHOUT THE MUTANT", "TESTS SKIPPED HERE", *["NO LONGER APPLIES"] * 4,
        "equivalent",
    ]  # fmt: skip
    assert rows[0]["by"] == "tests/test_toy.py::test_sum" and rows[-1]["by"] == "nobody reads it"
    assert outcome.returncode == 1 and "toy                    1 of   8 noticed" in outcome.stdout
    assert outcome.stdout.count("\nSURVIVED: toy.py") == 1
    assert (tree / "toy.py").read_text() == TOY  # the tree itself is never touched
