"""Do the tests notice when the program is broken? Applies one mutant at a time and runs the tests that should notice.

python -m benchmarks.mutants [ROOM ...] [--only TEXT] [--survivors] [--check]

Works on a copy of the tree. Heavy libraries of others are imported once; each mutant is a forked process that runs
pytest on the copy, so POSIX alone. Prints a line for each, then the score of each room and the survivors; rows go to
benchmarks/results/mutants.jsonl. Exit status 1: a mutant survived, no longer applies, or a test of it fails by itself.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.mutants.mutant import HERE, Mutant, NoLongerAppliesError, read_room, rooms

if TYPE_CHECKING:
    from benchmarks.mutants.trial import Trial

TREE = HERE.parent.parent
RESULTS = TREE / "benchmarks" / "results" / "mutants.jsonl"
NOTICED, SURVIVED, EQUIVALENT = "noticed", "SURVIVED", "equivalent"
STALE, BROKEN, NOT_RUN = "NO LONGER APPLIES", "FAILS WITHOUT THE MUTANT", "TESTS SKIPPED HERE"
Row = dict[str, Any]


def check(mutants: list[Mutant], tree: Path) -> list[str]:
    """Return a sentence for each mutant that does not apply to `tree`."""
    sentences = []
    for mutant in mutants:
        try:
            mutant.applied(tree)
        except NoLongerAppliesError as error:
            sentences.append(f"{STALE:17} {mutant}: {error}")
    return sentences


def run(mutants: list[Mutant]) -> list[Row]:
    """Run every mutant, printing as it goes, and return a row for each."""
    from benchmarks.mutants.trial import Trial

    rows = []
    with Trial(TREE) as trial:
        for mutant in mutants:
            rows.append(tried(trial, mutant))
            print(f"{rows[-1]['outcome']:24} {rows[-1]['seconds']:5} s  {mutant}  ({rows[-1]['by']})", flush=True)
            keep(rows[-1:])
        # once, together: a test that fails anyway has noticed nothing
        failing = trial.failing(
            sorted({str(row["by"]) for row in rows if row["outcome"] == NOTICED and "::" in row["by"]})
        )
    for row in rows:
        if row["by"] in failing:
            row["outcome"] = BROKEN
    keep(rows)
    return rows


def tried(trial: "Trial", mutant: Mutant) -> Row:
    """Return the row of one mutant. by: the test that noticed it, or why none was asked."""
    seconds, by = 0.0, mutant.equivalent
    try:
        content = mutant.mutated(trial.copy)
    except NoLongerAppliesError as error:
        outcome, by = STALE, str(error)
    else:
        outcome = EQUIVALENT
        if not by:
            by, skipped, seconds = trial.noticed(mutant, content)
            outcome = NOTICED if by else NOT_RUN if skipped else SURVIVED
    row = {"room": mutant.room, "kind": mutant.kind, "mutant": str(mutant), "outcome": outcome}
    return row | {"by": by, "seconds": round(seconds, 1)}


def summary(rows: list[Row]) -> str:
    """Return the score of each room and all that was not noticed."""
    lines = [""]
    for room in [*dict.fromkeys(str(row["room"]) for row in rows), "all"]:
        counts = Counter(row["outcome"] for row in rows if room in (row["room"], "all"))
        tried = counts.total() - counts[EQUIVALENT]
        others = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if outcome != NOTICED)
        lines.append(f"{room:20} {counts[NOTICED]:3} of {tried:3} noticed" + (f"; {others}" if others else ""))
    lines += [f"{row['outcome']}: {row['mutant']}" for row in rows if row["outcome"] not in (NOTICED, EQUIVALENT)]
    return "\n".join(lines)


def known_rows() -> list[Row]:
    """Return the rows of earlier runs."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()] if RESULTS.is_file() else []


def keep(rows: list[Row]) -> None:
    """Replace the rows of these mutants, and drop those of mutants that are listed no more."""
    listed = {str(mutant): mutant.room for room in rooms() for mutant in read_room(room)}
    all_rows = {row["mutant"]: row for row in [*known_rows(), *rows] if row["mutant"] in listed}
    in_order = [all_rows[mutant] for mutant in listed if mutant in all_rows]
    RESULTS.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in in_order), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"one of {', '.join(rooms())}; default all")
    parser.add_argument("--only", default="", metavar="TEXT", help="only mutants whose line holds this text")
    parser.add_argument("--survivors", action="store_true", help="only mutants that no row calls noticed")
    parser.add_argument("--check", action="store_true", help="only say which mutants no longer apply; runs nothing")
    arguments = parser.parse_args()
    chosen = arguments.rooms or rooms()
    if unknown := set(chosen) - set(rooms()):
        parser.error(f"no room {min(unknown)!r}; expected some of {', '.join(rooms())}")
    mutants = [mutant for room in chosen for mutant in read_room(room) if arguments.only in str(mutant)]
    if arguments.survivors:
        noticed = {row["mutant"] for row in known_rows() if row["outcome"] == NOTICED}
        mutants = [mutant for mutant in mutants if str(mutant) not in noticed]
    if arguments.check:
        sentences = check(mutants, TREE)
        print("\n".join([*sentences, f"{len(mutants) - len(sentences)} of {len(mutants)} mutants apply"]))
        sys.exit(bool(sentences))
    rows = run(mutants)
    print(summary(rows))
    sys.exit(any(row["outcome"] not in (NOTICED, EQUIVALENT) for row in rows))


if __name__ == "__main__":
    main()
