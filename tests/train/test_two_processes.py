"""Two processes are one: what they train, check, validate, stop, follow and export. One group does all of it."""

import json
import shutil
from types import SimpleNamespace

import pytest

from tests.support.train_recipes import ALL_TURNS, in_two_processes, tiny, write_chain, write_images
from tests.support.training_runs import largest_difference, quiet
from train.loop import run
from train.state import read_run

pytestmark = pytest.mark.slow


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Where both have trained, and what the first of them said to each command, by name."""
    folder = tmp_path_factory.mktemp("group")
    images = write_images(folder / "images")
    for name in ("prior", "lite", "whole"):
        (folder / name).mkdir()
    prior = tiny(folder / "prior", images, "stage=prior", "loop.steps=2")
    run(prior, folder / "start", quiet)
    # a few steps before the two part: Adam divides a first gradient by itself, were it rounding noise
    turns = (f"start.prior={(folder / 'start').as_posix()!r}", *ALL_TURNS)
    run(tiny(folder / "whole", images, *turns, "loop.batch=4", "loop.steps=3"), folder / "one", quiet)
    shutil.copytree(folder / "one", folder / "two")
    run(tiny(folder / "whole", images, *turns, "loop.batch=4", "loop.steps=5"), folder / "one", quiet)
    tiny(folder / "lite", images, "loop.sample_every=1")

    def words(recipe, output, *settings):
        sets = [word for one in (f"data.folder={images.as_posix()!r}", *settings) for word in ("--set", one)]
        return [str(folder / recipe / "tiny.toml"), "--output", str(folder / output), *sets]

    chain = [*map(str, write_chain(folder, images)), "--set", "loop.batch=1", "--output", str(folder / "runs")]
    lite = words("lite", "made", "loop.steps=1", "loop.sample_every=1")
    commands = {
        "validated": words("prior", "validated", "loop.steps=2", "stage=prior", "loop.validate_every=1"),
        "checked": [*lite, "--check"],
        "exported": [*lite, "--export", str(folder / "model")],
        "chain checked": [*chain, "--check"],
        "chain stopped": [*chain, "--minutes", "1e-9"],
        "chain": chain,
        "two": words("whole", "two", *turns, "loop.steps=5"),
    }
    said = in_two_processes(list(commands.values()))
    return SimpleNamespace(folder=folder, said=dict(zip(commands, said, strict=True)))


def test_two_processes_check_validate_and_export_once(group):
    """The prior is validated through its wrapper, whose buffers are sent around: all processes must take part."""
    assert [line["step"] for line in log(group.folder / "validated") if "held_out/noise_t50" in line] == [1, 2]
    assert group.said["checked"].count("a step: ") == 1 and group.said["exported"].count(": written") == 1
    assert (group.folder / "model" / "bundle.json").is_file()


def test_two_processes_stop_together_and_follow_the_chain(group):
    """Precision changes between the stages, and each begins from what the first process alone has written."""
    assert group.said["chain checked"].count("a step: ") == 3
    assert "first: stopped at step 1 of 2" in group.said["chain stopped"].splitlines()[-1]
    for name in ("first", "prior", "last"):
        content = read_run(group.folder / "runs" / name)
        assert (content["step"], content["items_per_step"]) == (2, 2)
        assert [line["step"] for line in log(group.folder / "runs" / name)] == [2]


def test_two_processes_with_batch_2_are_one_with_batch_4(group):
    """Gradients of generator, critic and discriminator are averaged over the processes, and draws go by item."""
    alone, together = read_run(group.folder / "one"), read_run(group.folder / "two")
    assert largest_difference(alone["modules"], together["modules"]) < 1e-6
    assert largest_difference(alone["average"], together["average"]) < 1e-6
    assert together["items_per_step"] == 4 and together["step"] == alone["step"] == 5
