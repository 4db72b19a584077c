"""Define what a value from a settings file must be.

Rules of type and bound, checked before anything is built from it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from image_core.errors import CheckpointError
from image_core.storage.json_file import kind_of

SHOWN = 60
"""Characters of a foreign value that an error repeats."""


@dataclass(frozen=True)
class Rule:
    """Define what a value must be.

    expected: in words, after "expected". holds: whether a value of JSON obeys.
    """

    expected: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int) -> Rule:
    """Accept whole numbers from `least` to `most`."""
    return Rule(
        f"a whole number from {least} to {most}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
    )


def number(least: float, most: float) -> Rule:
    """Accept finite numbers from `least` to `most`."""

    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return least <= value <= most and math.isfinite(value)

    return Rule(f"a number from {least:g} to {most:g}", holds)


def text(most: int) -> Rule:
    """Accept texts of `most` characters."""
    return Rule(f"a text of at most {most} characters", lambda value: isinstance(value, str) and len(value) <= most)


def one_of(*values: Any) -> Rule:
    """Accept these values, type included: 1 is not True."""
    return Rule(
        f"one of {', '.join(map(repr, values))}",
        lambda value: any(type(value) is type(known) and value == known for known in values),
    )


def list_of(rule: Rule, least: int, most: int) -> Rule:
    """Accept lists of `least` to `most` items that obey `rule`."""
    count = f"{least}" if least == most else f"{least} to {most}"
    return Rule(
        f"a list of {count}, each {rule.expected}",
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(rule.holds, value)),
    )


def either(*rules: Rule) -> Rule:
    """Accept what obeys one of `rules`."""
    return Rule(" or ".join(rule.expected for rule in rules), lambda value: any(rule.holds(value) for rule in rules))


def table_of(key: Rule, value: Rule, most: int) -> Rule:
    """Accept objects of at most `most` entries."""
    return Rule(
        f"an object of at most {most} entries, each {value.expected}",
        lambda given: (
            isinstance(given, dict)
            and len(given) <= most
            and all(key.holds(name) and value.holds(content) for name, content in given.items())
        ),
    )


FLAG = one_of(True, False)
NOTHING = one_of(None)
ANY_OBJECT = Rule("an object", lambda value: isinstance(value, dict))


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str, needed: Sequence[str] = ()) -> None:
    """Raise CheckpointError for the first value that breaks its rule, a key without a rule, or a needed key missing."""
    for key in sorted(set(needed) - values.keys()):
        raise CheckpointError(f"{where}: missing key {key!r}")
    for key in values:
        if key not in rules:
            raise CheckpointError(f"{where}: unknown key {shown(key)}")
        if not rules[key].holds(values[key]):
            raise CheckpointError(f"{where}: {key} is {shown(values[key])}, expected {rules[key].expected}")


def shown(value: Any) -> str:
    """Return a foreign value for an error message: short, on one line."""
    if isinstance(value, dict | list) and len(value) > 4:
        return f"{kind_of(value)} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a number of {value.bit_length()} bits"
    try:
        words = repr(value)
    except RecursionError:
        return f"{kind_of(value)}, nested deeply"
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}..."
