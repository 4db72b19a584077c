"""Tiny recipes and images that the tests of training share."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from train.config import Recipe
from train.recipe import load_recipe

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""}
GROUP = """
import json, os, sys
from click.testing import CliRunner
from cli.main import cli
import train.check, train.export, train.runs

commands = json.load(sys.stdin)
other = os.fork()  # everything is imported: once for both
os.environ |= {name: str(int(not other)) for name in ("RANK", "LOCAL_RANK")}
said = []
for words in commands:
    outcome = CliRunner().invoke(cli, ["train", *words])
    if outcome.exit_code:
        sys.stderr.write(f"{words}: {outcome.output} {outcome.exception!r}")
        os._exit(1)
    said.append(outcome.output)
if other:
    print(json.dumps(said))
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""
ALL_TURNS = ("loss.balance=true", "loss.adversarial=0.1", "loss.feature_matching=0.3", "vsd.weight=0.3", "loop.ema=0.9")
"""Generator, critic and discriminator learn, and an average is kept; needs start.prior."""

TINY = """
    [loss]
    pixel = "charbonnier"
    [lite]
    widths = [16, 32]
    latent_channels = 8
    encoder_width = 8
    encoder_blocks = 1
    decoder_width = 8
    decoder_blocks = 1
    prompt_width = 8
    [data]
    holdout = 1
    crop_px = 64
    workers = 0
    mixture = { light = 1.0 }
    [loop]
    steps = 4
    batch = 2
    learning_rate = 1e-3
    checkpoint_every = 2
    log_every = 2
    device = "cpu"
"""


def write_images(folder: Path, count: int = 5, size: int = 96) -> Path:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def tiny(folder: Path, images: Path, *overrides: str) -> Recipe:
    """The lite model at its smallest, with `overrides` as of --set."""
    path = folder / "tiny.toml"
    text = textwrap.dedent(TINY)
    path.write_text(text.replace('pixel = "charbonnier"', "") if "stage=prior" in overrides else text)
    return load_recipe(path, (f"data.folder={images.as_posix()!r}", *overrides))


def write_chain(folder: Path, images: Path, *, steps: int = 2) -> list[Path]:
    """The three recipes of the embedded model at its smallest: "first", "prior", and "last", which starts from both.

    The prior trains in bfloat16 and the others in float32; a critic learns beside the last.
    """
    loss, rest = textwrap.dedent(TINY).split("[lite]")
    rest = "[lite]" + rest.replace("[data]", f"[data]\nfolder = {images.as_posix()!r}\nturns = true")
    rest = rest.replace("steps = 4", f"steps = {steps}") + "ema = 0.9\n"
    start = '[start]\ngenerator = "runs/first"\nprior = "runs/prior"\n[vsd]\nweight = 0.2\nguidance = 1.0\n'
    texts = {
        "first": f'stage = "autoencoder"\n{loss}latent = 0.02\n{rest}',
        "prior": f'stage = "prior"\n{rest}precision = "bf16"\n',
        "last": f"{start}{loss}balance = true\n{rest}",
    }
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text)
    return [folder / f"{name}.toml" for name in texts]


def tiny_sd21(base: Path, images: Path, folder: Path, *overrides: str) -> Recipe:
    """The full model's recipe on a tiny base."""
    path = folder / "sd21.toml"
    data, loop = textwrap.dedent(TINY).split("[data]")[1].split("[loop]")
    path.write_text(f'model = "sd21"\n[data]{data}[loop]{loop}')
    own = (f"data.folder={images.as_posix()!r}", f"sd21.base={base.as_posix()!r}", "vsd.weight=1.0")
    return load_recipe(path, (*own, *overrides))


def in_two_processes(commands: list[list[str]]) -> list[str]:
    """Run `osediff train` with each of these words, in two processes that are one group on the CPU.

    Returns what the first of them prints to each command. Fails with what was printed where one of them fails.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, "-c", GROUP],
        cwd=ROOT,
        env={**ENVIRONMENT, **group},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)
