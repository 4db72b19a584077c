"""One step of the same recipe with weights in shards over two processes, as on several machines."""

import shutil
import socket
import subprocess
import sys

import pytest

from tests.support.train_recipes import ENVIRONMENT, ROOT, tiny, write_images
from tests.support.training_runs import largest_difference, quiet
from train.loop import run
from train.state import read_run

SCRIPT = """
import sys
from pathlib import Path
import train.loop
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor
from train.recipe import load_recipe

class OnCPU(Accelerator):
    # Accelerate shards on accelerators alone, though torch does so on gloo too
    def __init__(self, **settings):
        super().__init__(**settings)
        plugin = FullyShardedDataParallelPlugin()
        assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is False, plugin
        AcceleratorState._shared_state |= {"distributed_type": DistributedType.FSDP, "fsdp_plugin": plugin}

    def prepare(self, *things):
        things = super().prepare(*things)
        assert all(isinstance(weight, DTensor) for weight in things[0].parameters())
        return things

train.loop.Accelerator = OnCPU
train.loop.run(load_recipe(Path(sys.argv[1]), tuple(sys.argv[3:])), Path(sys.argv[2]), lambda *_: None)
assert AcceleratorState().num_processes == 2
"""


@pytest.mark.slow
def test_a_step_in_shards_is_one_of_a_single_process_and_its_checkpoint_goes_on_alone(tmp_path):
    images = write_images(tmp_path / "images")
    alone = tiny(tmp_path, images, "loop.steps=3", "loop.batch=4")
    run(alone, tmp_path / "one", quiet)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    run(tiny(tmp_path, images, "loop.steps=4", "loop.batch=4"), tmp_path / "one", quiet)
    (tmp_path / "step.py").write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [f"data.folder={images.as_posix()!r}", "loop.steps=4", "loop.batch=2"]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "examples/farm/fsdp.yaml"]
    command += ["--num_machines", "1", "--num_processes", "2", "--main_process_port", port]
    command += [str(tmp_path / "step.py"), str(tmp_path / "tiny.toml"), str(tmp_path / "two"), *words]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, timeout=300)
    one, two = read_run(tmp_path / "one"), read_run(tmp_path / "two")
    assert two["step"] == 4 and largest_difference(one["modules"], two["modules"]) < 1e-6
    assert run(tiny(tmp_path, images, "loop.steps=5", "loop.batch=4"), tmp_path / "two", quiet) == 5
