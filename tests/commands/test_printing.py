"""Names from anywhere are shown, and do nothing else."""

import pytest

from cli.printing import message_of, printable
from image_core.errors import DownloadError


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("film [x264] [1080p].mkv", "film [x264] [1080p].mkv"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\nError: forged\r\x9b", r"a\nError: forged\r\x9b"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u2028b\ud800", r"a\u2028b\ud800"),
        ("نمی\u200cدانم 👩\u200d👧 é", "نمی\u200cدانم 👩\u200d👧 é"),
    ],
)
def test_what_a_name_becomes(given, shown):
    assert printable(given) == shown
    printable(given).encode()


def test_only_our_own_line_ends_are_line_ends():
    error = DownloadError("a\nb")
    error.add_note("By hand: c\nd")
    assert message_of(error) == "a\\nb\n  By hand: c\\nd"


def test_progress_shows_brackets_as_they_are(capsys):
    from pathlib import Path

    from cli.jobs.progress import ImageProgress

    progress = ImageProgress(Path("film [x264] [bold]\x1b[2J.png"))
    progress.started = progress.last = 0.0
    progress(0.25)
    messages = capsys.readouterr().err
    assert messages.startswith("film [x264] [bold]\\x1b[2J.png: 25%, about ")


def test_no_memory_is_one_line(monkeypatch):
    from click.testing import CliRunner

    import cli.main

    def short(*_, **__):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr(cli.main.importlib, "import_module", short)
    outcome = CliRunner().invoke(cli.main.cli, ["doctor"])
    assert outcome.exit_code == 1 and outcome.output.startswith("Error: not enough memory")
