"""Read the mutants of a room: small changes to the program, each of which breaks something that a user relies on.

A room is a text file beside this one. A line is one mutant:

    FILE  `OLD` -> `NEW`  TEST ...                 what must notice it, as pytest names it
    FILE  `OLD` -> `NEW`  equivalent: REASON       nothing can notice it

OLD stands exactly once in FILE; in OLD and NEW, ⏎ is a line's end. Lines that begin with "# " say what follows breaks:
"# wiring" (an option not passed on, a default, a check, an exit code) or "# rules" (a formula, a bound, an order).
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("wiring", "rules")
LINE = re.compile(r"(\S+)  `([^`]+)` -> `([^`]*)`  (.+)")


class NoLongerAppliesError(Exception):
    """A mutant and the tree have grown apart; says how."""


@dataclass(frozen=True)
class Mutant:
    """Hold one change. tests: pytest's names of what must notice it. equivalent: why nothing can, where so."""

    room: str
    kind: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""

    def __str__(self) -> str:
        old, new = (text.replace("\n", "⏎") for text in (self.old, self.new))
        return f"{self.file}  `{old}` -> `{new}`"

    def mutated(self, tree: Path) -> str:
        """Return the changed content of the file in `tree`. Raises NoLongerAppliesError."""
        changed = self.applied(tree)
        if self.file.endswith(".py"):
            try:
                ast.parse(changed)
            except SyntaxError as error:
                raise NoLongerAppliesError(f"the new text is no Python there: {error.msg}") from error
        return changed

    def applied(self, tree: Path) -> str:
        """Return the changed content, its grammar unchecked. Raises NoLongerAppliesError."""
        if missing := [test for test in self.tests if not is_there(test, tree)]:
            raise NoLongerAppliesError(f"there is no {missing[0]}")
        path = tree / self.file
        if not path.is_file():
            raise NoLongerAppliesError("no such file")
        content = path.read_text(encoding="utf-8")
        if (count := content.count(self.old)) != 1:
            raise NoLongerAppliesError(f"the old text stands there {count} times, expected once")
        if without_comments(self.old) == without_comments(self.new):
            raise NoLongerAppliesError("the new text says the same")
        return content.replace(self.old, self.new)


def without_comments(text: str) -> str:
    """Return a text without comments and blanks."""
    return re.sub(r"\s+|(?<!\S)#.*", "", text)


def is_there(test: str, tree: Path) -> bool:
    """Tell whether a file of tests, or a function in it, is there."""
    name, _, function = test.partition("::")
    path, function = tree / name, function.partition("[")[0]
    return path.is_file() and f"\ndef {f'{function}(' if function else 'test_'}" in path.read_text(encoding="utf-8")


def rooms(folder: Path = HERE) -> list[str]:
    """Return the names of all rooms."""
    return sorted(path.stem for path in folder.glob("*.txt"))


def read_room(room: str, folder: Path = HERE) -> list[Mutant]:
    """Read one room. Raises ValueError naming the first line that is no mutant."""
    found: list[Mutant] = []
    kind = ""
    for number, line in enumerate((folder / f"{room}.txt").read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# "):
            kind = line.removeprefix("# ").split(":")[0]
        elif line:
            match = LINE.fullmatch(line)
            if match is None or kind not in KINDS:
                raise ValueError(
                    f"{room}.txt, line {number}: expected FILE  `OLD` -> `NEW`  TESTS below one of {KINDS}"
                )
            file, old, new, rest = match.groups()
            old, new = (text.replace("⏎", "\n") for text in (old, new))
            is_test = not rest.startswith("equivalent: ")
            tests, reason = (tuple(rest.split()), "") if is_test else ((), rest.removeprefix("equivalent: "))
            found.append(Mutant(room, kind, file, old, new, tests, reason))
    return found
