"""Several recipes in one command, and a command that stops when its time is over: the same as without either."""

import pytest
from click.testing import CliRunner

from cli.main import cli
from tests.support.train_recipes import write_chain, write_images
from tests.support.training_runs import learnt, quiet, same
from train.config import RecipeError
from train.loop import run
from train.recipe import load_recipe
from train.runs import plan_runs, train_runs
from train.state import read_run, with_starts

NAMES = ("first", "prior", "last")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def chain(images, tmp_path_factory):
    """The recipes, and the folder where they were trained in one go."""
    folder = tmp_path_factory.mktemp("chain")
    files = write_chain(folder, images)
    for _ in train_runs(plan_runs(files, (), folder / "runs"), quiet):
        pass
    return files, folder / "runs"


def osediff(*words, code=0):
    result = CliRunner().invoke(cli, ["train", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_three_recipes_in_one_command_make_a_bundle_and_are_not_trained_twice(chain, tmp_path):
    files, whole = chain
    messages = osediff(*files, "--output", tmp_path / "a", "--export", tmp_path / "model")
    assert [line.split(": ")[1] for line in messages.splitlines() if "finished" in line] == ["finished at step 2"] * 3
    assert "model: written" in messages and (tmp_path / "model/bundle.json").is_file()
    for name in NAMES:
        assert same(learnt(tmp_path / "a" / name), learnt(whole / name))
    marks = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    nothing = f"data.folder={(tmp_path / 'nothing').as_posix()!r}"
    again = osediff(*files, "--output", tmp_path / "a", "--set", nothing)  # a finished run looks at no image
    assert again.count("finished") == 3 and "images_per_s" not in again
    assert marks == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}


def test_runs_find_what_they_start_from_beside_themselves(chain, tmp_path, monkeypatch):
    files, whole = chain
    recipe = load_recipe(files[2])
    assert with_starts(recipe, tmp_path).start == recipe.start
    result = with_starts(recipe, tmp_path, whole)
    assert (result.start.generator, result.start.prior) == (str(whole / "first"), str(whole / "prior"))
    assert with_starts(result, tmp_path) == result
    run(recipe, whole / "other", quiet)
    assert same(learnt(whole / "other"), learnt(whole / "last"))
    assert read_run(whole / "other")["recipe"]["start"]["prior"] == "runs/prior"
    monkeypatch.chdir(whole.parent)
    run(recipe, tmp_path / "far" / "away", quiet)  # nothing beside it: the path is as it says
    assert same(learnt(tmp_path / "far" / "away"), learnt(whole / "last"))


def test_what_cannot_follow_is_said_before_anything_is_trained(chain, tmp_path):
    files, _ = chain
    with pytest.raises(RecipeError, match=r"last: start.prior is runs/prior, which is not trained; name its recipe"):
        plan_runs([files[0], files[2], files[1]], (), tmp_path)
    with pytest.raises(RecipeError, match=r"one: start.generator is runs/first"):
        plan_runs(files[2:], (), tmp_path / "one")
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "first.toml"
    twin.write_text(files[0].read_text())
    with pytest.raises(RecipeError, match=r"a second recipe of this name.*rename"):
        plan_runs([files[0], twin])


def test_check_tries_a_recipe_whose_start_comes_from_the_one_before(chain, tmp_path):
    messages = osediff(*chain[0], "--output", tmp_path / "runs", "--check")
    assert messages.count("a step: ") == 3 and "\nprior:\n" in messages and "critic: " in messages
    assert not (tmp_path / "runs").exists()


def test_minutes_stop_at_a_step_and_going_on_ends_in_the_same_bits(chain, tmp_path):
    """A step a call, each in time already over."""
    files, whole = chain
    words = [
        *map(str, files),
        "--output",
        str(tmp_path / "runs"),
        "--minutes",
        "1e-9",
        "--export",
        str(tmp_path / "model"),
    ]
    stopped = f"{tmp_path / 'runs/first'}: stopped at step 1 of 2; run the same command again to resume\n"
    assert osediff(*words).endswith(stopped)
    assert not (tmp_path / "runs/prior").exists()
    ends = [osediff(*words).splitlines() for _ in range(3)]
    assert [len([line for line in lines if "finished" in line]) for lines in ends] == [1, 2, 3]
    assert ["stopped at step 1" in lines[-1] for lines in ends] == [True, True, False]
    assert "model: written" in ends[-1][-1] and (tmp_path / "model").is_dir()
    for name in NAMES:
        assert same(learnt(tmp_path / "runs" / name), learnt(whole / name))
