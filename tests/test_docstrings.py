"""Every docstring opens with a whole sentence that says what its subject does and stands alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("image_core", "osediff_video", "train", "page", "cli")
VERBS = """
accept accumulate act add answer append apply ask blend blur bound bring build call carry cast check choose clamp
close collect combine compare compute contain continue convert copy count crop cut damage decide decode define degrade
delete denoise describe detect determine discard do download draw drive drop encode end estimate execute export
extract fail fill find flatten flush fold follow forget generate get give group guess hash hold identify import
inspect join judge keep lay leave let link list load look make map mark measure mix move multiply name note number
open order pad paint parse pass pause plan predict prepare print probe process provide put queue raise rank read
record refuse relate remember remove rename reorder repeat replace report reshape resize resolve restore return round
run sample save say scale score serve set sharpen shift ship shorten show solve split stack start state stop store
strip sum super-resolve switch take tell time train turn undo update upscale use verify wait walk watch weigh work
wrap write yield
"""
"""Verbs that open a docstring, in the imperative. Add one when a sentence needs it; a noun or adjective is none."""


def documented(package: str) -> Iterator[tuple[str, str]]:
    """Yield where each docstring of the public names of a package stands, and its text."""
    for path in sorted((ROOT / package).rglob("*.py")):
        yield from below(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(ROOT)))


def below(node: ast.Module | ast.ClassDef | ast.FunctionDef, name: str) -> Iterator[tuple[str, str]]:
    if text := ast.get_docstring(node):
        yield name, text
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from below(child, f"{name}:{child.name}")


def fault(text: str) -> str | None:
    """Return what is wrong with a docstring, None where nothing is."""
    first = text.splitlines()[0]
    verb = first.split()[0].rstrip(",:;").lower()
    if verb not in VERBS.split():
        return f"opens with {first.split()[0]!r}, which is no verb in the imperative that VERBS lists"
    if first[0] != first[0].upper():
        return "begins with a small letter"
    if first[-1] not in ".:?":
        return f"its first line does not end its sentence: {first!r}"
    if len(text.splitlines()) > 1 and text.splitlines()[1]:
        return "its first line is not followed by an empty one"
    return None


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_open_with_a_sentence_that_stands_alone(package):
    faults = [f"{name}: {wrong}" for name, text in documented(package) if (wrong := fault(text))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "What FFmpeg's encoder is given.",
        "The same, at the first frame.",
        "As `decode`, before the clamp.",
        "Whether the video is interlaced.",
        "Return the size\nof an image.",
        "Return the size",
        "returns the size.",
    ],
)
def test_fragments_are_noticed(text):
    assert fault(text)
