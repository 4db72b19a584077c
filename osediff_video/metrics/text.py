"""Score how much of the text in a reference can still be read in a result."""

from collections.abc import Callable

from image_core.prompts.written import Reader, load_reader
from osediff_video.types import ImageArray


def text_kept(reader: Reader | None = None) -> Callable[[ImageArray, ImageArray], float]:
    """Return the share of the reference's characters that are read in the same places of the result, 0 to 1.

    For every line found in the reference, what is recognised in its box of the result, t', is compared with what is
    recognised there in the reference, t: sum(max(0, |t| - d(t, t'))) / sum(|t|), with the edit distance d, spaces left
    out.
    NaN where the reference has no text. Raises ModelNotFoundError without the extra `ocr`.
    """
    read = reader or load_reader()

    def score(result: ImageArray, reference: ImageArray) -> float:
        lines = read.lines(reference)
        expected = ["".join(line.text.split()) for line in lines]
        found = ["".join(read.recognised(result, line.box).split()) for line in lines]
        kept = [max(0, len(a) - edit_distance(a, b)) for a, b in zip(expected, found, strict=True)]
        total = sum(map(len, expected))
        return sum(kept) / total if total else float("nan")

    return score


def edit_distance(a: str, b: str) -> int:
    """Return how many characters must be inserted, deleted or replaced to make `b` of `a` (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (left != right))
    return row[-1]
