"""Make text harmless for the terminal.

Names of files and models come from anywhere: they must not steer it or forge a line.
"""

import unicodedata

import click

KEPT = {"\u200c", "\u200d"}
"""Joiners, which names in Persian and faces of several people need."""


def printable(text: str) -> str:
    r"""Return `text` on one line, with control signs, line ends and marks of direction as escapes such as \x1b."""
    return "".join(sign if is_harmless(sign) else sign.encode("unicode_escape").decode() for sign in text)


def is_harmless(sign: str) -> bool:
    """Tell whether a sign only shows itself."""
    # control, format, surrogate, line and paragraph separators
    return sign in KEPT or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def write(line: object) -> None:
    """Write a line of results to standard output."""
    click.echo(printable(str(line)))


def say(sentence: str) -> None:
    """Write a sentence to standard error."""
    click.echo(printable(sentence.strip()), err=True)


def message_of(error: BaseException) -> str:
    """Return an error's message and, each on a line of its own, its notes."""
    notes = (f"\n  {printable(note)}" for note in getattr(error, "__notes__", ()))
    return printable(str(error)) + "".join(notes)
