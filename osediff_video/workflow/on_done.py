"""Run a user's command when a result is done, with its path as the last argument, never through a shell."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from image_core.errors import OutputError

STANDARD_ERROR = 2
"""Where the command's output goes: standard output may carry events or a video."""


def command_words(command: str) -> list[str]:
    """Return the words of a command, quoted as in a shell. Raises OutputError if there is no such program."""
    try:
        words = shlex.split(command, posix=os.name != "nt")
    except ValueError as error:
        raise OutputError(f"--on-done {command}: cannot be split into words ({error})") from error
    if not words or shutil.which(words[0]) is None:
        name = words[0] if words else "''"
        raise OutputError(f"--on-done: there is no program {name}; expected a program on the path, or its file")
    return words


def run_on_done(words: list[str], result: Path) -> None:
    """Run a command with the absolute path of a result as its last argument, and wait for it.

    Raises OutputError where it fails; the result stays.
    """
    try:
        done = subprocess.run([*words, str(result.absolute())], stdin=subprocess.DEVNULL, stdout=STANDARD_ERROR)
    except OSError as error:
        raise OutputError(f"{result}: is done, but {words[0]} cannot be run ({error})") from error
    if done.returncode:
        raise OutputError(f"{result}: is done, but {words[0]} ended with code {done.returncode}")
