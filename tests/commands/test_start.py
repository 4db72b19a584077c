"""What a command imports before it does anything: listing and looking need no library of models."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from cli.main import cli
try:
    cli(sys.argv[1:])
finally:
    heavy = ("diffusers", "peft", "transformers", "accelerate", "torch._dynamo")
    print("imported:", *(name for name in heavy if name in sys.modules))
"""


@pytest.mark.parametrize("arguments", ["models list", "doctor", "probe samples/clip.mp4"])
def test_a_command_that_runs_no_model_imports_no_library_of_models(arguments, pytestconfig):
    command = [sys.executable, "-c", PROGRAM, *arguments.split()]
    result = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=300)
    assert result.stdout.splitlines()[-1].strip() == "imported:", result.stdout + result.stderr
