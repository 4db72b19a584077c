"""Commands and the embedded model start without what they do not use; importing it took longer than a short clip."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

UNUSED = {"diffusers", "peft", "transformers", "accelerate", "torch._dynamo", "timm", "lpips"}
REPORT = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def modules_after(code):
    """Names of all modules that a fresh process has imported after this code."""
    run = subprocess.run([sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_embedded_model_runs_without_the_libraries_of_large_ones():
    modules = modules_after(
        "import numpy\nfrom osediff_video import upscale_image\n"
        "assert upscale_image(numpy.zeros((24, 32, 3), numpy.uint8), model='lite').shape == (96, 128, 3)"
    )
    assert "torch" in modules and not modules & UNUSED


@pytest.mark.parametrize("words", [["--help"], ["upscale", "--help"], ["models", "--help"]])
def test_help_is_shown_without_torch(words):
    modules = modules_after(f"from cli.main import cli\ncli({words!r}, standalone_mode=False)")
    assert not modules & (UNUSED | {"torch", "av", "cv2"})


CLIP = str(ROOT / "samples/clip.mp4")
NO_GPU = "import image_core.device.choice as choice\nchoice.may_have_gpu = lambda: False"


@pytest.mark.parametrize(
    "words", [["models", "list"], ["models", "verify", "lite"], ["doctor"], ["probe", CLIP], ["presets", "list"]]
)
def test_a_command_that_runs_no_model_starts_without_torch(words):
    run = f"from cli.main import cli\ntry:\n    cli({words!r}, standalone_mode=False)\nexcept SystemExit:\n    pass"
    assert not modules_after(f"{NO_GPU}\n{run}") & (UNUSED | {"torch"})


def test_a_gpu_is_still_asked_for_where_there_may_be_one():
    code = "import image_core.device.choice as choice\nchoice.may_have_gpu = lambda: True\n"
    assert "torch" in modules_after(f"{code}choice.choose_device_name('auto')")


def test_a_source_that_cannot_be_read_is_refused_before_the_model_is_loaded(tmp_path):
    (tmp_path / "cut.mp4").write_bytes(Path(CLIP).read_bytes()[:20_000])
    words = ["upscale", str(tmp_path / "cut.mp4"), "-o", str(tmp_path / "out.mp4"), "--model", "lite"]
    run = f"from cli.main import cli\ntry:\n    cli({words!r})\nexcept SystemExit as end:\n    assert end.code == 1"
    assert not modules_after(f"{NO_GPU}\n{run}") & {"torch"}
