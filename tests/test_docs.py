"""The pages say what is there: commands with their options and values, public names, paths, links and snippets."""

import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import osediff_video
from cli.main import COMMANDS, cli
from osediff_video.metrics.image import DEFINITIONS
from osediff_video.metrics.table import PAPER
from osediff_video.metrics.video import VIDEO_DEFINITIONS
from osediff_video.shots.shot_list import read_shot_list
from osediff_video.workflow.presets import read_preset
from tests.support.media_files import write_video
from train.recipe import load_recipe

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
NAMES = ("osediff", "osediff-video")
PACKAGES = r"(?:image_core|osediff_video|train|page|cli|tests|benchmarks|docs|samples|examples)"
CODE = ("image_core", "osediff_video", "train", "page", "cli")
FOREIGN_OPTIONS = {
    "--index-url",
    "--config_file",
    "--include-dashboard",
    "--num_processes",
    "--set",
    "--peer",
    "--model",
}
"""Options that pages name of other programs: pip, accelerate, benchmarks."""

FOREIGN_NAMES = {"upscale_frames", "data.holdout", "data.mixture", "loop.steps"}
"""Public names and settings that a walk-through mentions without naming their file."""

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(text, language):
    """Code blocks of one language, dedented: those inside lists are indented."""
    result = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in result]


def read(path):
    return path.read_text(encoding="utf-8")


def prose(path):
    return prose_of(read(path))


def prose_of(text):
    """A page without its code blocks."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)


def commands_of(text):
    """The words of every command of ours in the shell blocks of a page, without the program's name."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = [each for word in shlex.split(part, comments=True) for each in expanded(word)]
                start = next((n for n, word in enumerate(words) if Path(word).name in NAMES), None)
                if start is None and "-m cli" in part:
                    start = words.index("cli")
                if start is not None:
                    end = words.index(">") if ">" in words else None
                    yield words[start + 1 : end]


def expanded(word):
    """The words that a shell makes of a{b,c}d."""
    parts = [part.split(",") for part in re.split(r"[{}]", word)]
    return ["".join(choice) for choice in itertools.product(*parts)] if "{" in word else [word]


def parse(words):
    """Let click convert and check the words as it would before running the command."""
    command, context = cli, click.Context(cli)
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, name
    command.make_context(command.name, list(words))


def test_indented_blocks_and_every_form_of_a_command_are_seen():
    page = (
        "- a list\n\n  ```sh\n  osediff image {a,b}.png  # note\n  ```\n\n"
        "```sh\npip install . && .venv/bin/osediff probe x.mp4\n```\n"
    )
    assert list(commands_of(page)) == [["image", "a.png", "b.png"], ["probe", "x.mp4"]]
    for wrong in (["upscale", "a.mp4", "--crf", "low"], ["image", "a.png", "--scale", "9"], ["upscale", "--soon", "a"]):
        with pytest.raises(click.UsageError):
            parse(wrong)


def test_the_reference_of_commands_is_fresh():
    assert read(DOCS / "cli.md") == generator("make_cli").reference(), "run: python docs/make_cli.py"


def test_the_reference_of_python_is_fresh_and_complete():
    result = generator("make_python")
    _, mark, written = read(DOCS / "python.md").partition(result.MARK)
    assert mark and written.strip() == result.reference().strip(), "run: python docs/make_python.py"
    assert sorted(re.findall(r"^### `(\w+)`$", written, re.MULTILINE)) == osediff_video.__all__


def test_the_tables_of_measured_numbers_are_fresh():
    result = generator("make_tables")
    for path in PAGES:
        assert result.refreshed(read(path)) == read(path), "run: python docs/make_tables.py"


def test_every_metric_is_defined_on_the_page_and_nothing_else_is():
    tables = "\n".join(line for line in read(DOCS / "evaluation.md").splitlines() if line.startswith("| `"))
    defined = {name for line in tables.splitlines() for name in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    assert defined == {*DEFINITIONS, *VIDEO_DEFINITIONS, *PAPER}


@each_page
def test_lists_of_shots_and_presets_are_understood(path, tmp_path):
    for number, block in enumerate(blocks(read(path), "toml")):
        (tmp_path / f"{number}.toml").write_text(block)
        reader = read_shot_list if "[[shot]]" in block else read_preset
        assert reader(tmp_path / f"{number}.toml")


def test_the_events_of_a_job_have_the_fields_that_the_page_lists(tmp_path):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(5)], size=(16, 24))
    lines = CliRunner().invoke(cli, ["upscale", str(source), "--json"]).stdout.splitlines()
    lines += CliRunner().invoke(cli, ["upscale", str(tmp_path / "none.mp4"), str(source), "--json"]).stdout.splitlines()
    events = {event["event"]: event.keys() - {"event", "source"} for event in map(json.loads, lines)}
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*) \|$", read(DOCS / "videos.md").partition("## JSON events")[2], re.MULTILINE
    )
    listed = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    assert {"plan", "progress", "done"} <= events.keys()
    assert events == {name: listed[name] for name in events}, "docs/videos.md lists other fields"


def test_the_recorded_recipes_still_read():
    files = sorted((DOCS / "models" / "runs").glob("*.toml"))
    assert files and all(load_recipe(file) for file in files)


def generator(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_thing_has_a_sentence_of_its_own():
    things = [getattr(osediff_video, name) for name in osediff_video.__all__ if name != "__version__"]
    sentences = [(thing.__doc__ or "").strip().splitlines()[0] for thing in things if thing.__doc__]
    assert len(sentences) == len(set(sentences)) == len(things)


def test_every_command_stands_in_the_readme():
    shown = {words[0] for words in commands_of(read(ROOT / "README.md"))}
    named = set(re.findall(r"`osediff(?:-video)? (\w+)", read(ROOT / "README.md")))
    assert set(COMMANDS) <= shown | named


@each_page
def test_every_command_of_a_page_is_understood_with_its_values(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").symlink_to(ROOT / "train")
    for words in commands_of(read(path)):
        for word in words:  # files that a command expects to be there
            if re.fullmatch(r"\w[\w.-]*\.\w+", word):
                (tmp_path / word).touch()
        parse(words)


@each_page
def test_options_in_the_text_exist(path):
    known = {option for words in every_command(cli, []) for option in words}
    named = {option for code in re.findall(r"`([^`]+)`", prose(path)) for option in re.findall(r"--[a-z][\w-]*", code)}
    assert named <= known | FOREIGN_OPTIONS | {"--help"}


def every_command(command, result):
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            every_command(command.get_command(click.Context(command), name), result)
    result.append({option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]})
    return result


@each_page
def test_paths_and_modules_in_the_text_exist(path):
    if path.name == "history.md" or path.name == "CONTRIBUTING.md":
        return  # tells of the past; gives names of files to come
    for code in re.findall(r"`([^`\n]+)`", prose(path)):
        if re.fullmatch(rf"{PACKAGES}/[\w./-]*", code):
            assert (ROOT / code).exists() or (ROOT / f"{code}.py").exists(), f"{path.name}: {code}"
        for module in re.findall(rf"python -m ({PACKAGES}[\w.]*)", code):
            assert importlib.util.find_spec(module), f"{path.name}: {module}"


def test_the_architecture_names_every_folder_and_only_modules_that_exist():
    page = read(DOCS / "architecture.md")
    named = set(re.findall(rf"(?<![\w/.])({PACKAGES}(?:/\w+)*)", page.replace(".py", "")))
    missing = [name for name in named if not (ROOT / name).is_dir() and not (ROOT / f"{name}.py").is_file()]
    assert not missing
    folders = {path.parent for package in CODE for path in (ROOT / package).rglob("*.py")}
    assert {str(folder.relative_to(ROOT)) for folder in folders} <= named
    for step in re.findall(r"\n(\d\..*?)(?=\n\d\.|\n\n|\Z)", page, re.DOTALL):  # a step names files by their full path
        assert re.search(rf"`{PACKAGES}/[\w/]+\.py`", step), step


def test_walk_throughs_name_what_is_in_the_files_that_they_name():
    for section in read(DOCS / "adding.md").split("\n## ")[1:]:
        files = set(re.findall(rf"`({PACKAGES}/[\w/]+\.py)`", section))
        text = "".join(read(ROOT / file) for file in files)
        for name in re.findall(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)`", prose_of(section)) if files else ():
            last = name.split(".")[-1]
            assert last in text or last in COMMANDS or name in FOREIGN_NAMES, f"{section.splitlines()[0]}: {name}"


@each_page
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        place = path.parent / name if name else path
        assert place.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(place), f"{path.name}: {target}"


def anchors(path):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index():
    trees = re.findall(r"\{toctree\}.*?\n\n(.*?)```", read(DOCS / "index.md"), re.DOTALL)
    listed = {page for tree in trees for page in tree.split()}
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    assert listed == pages - {"index"}


def test_every_picture_is_shown_somewhere():
    shown = {(page.parent / target).resolve() for page in PAGES for target in re.findall(r"\]\((\S+)\)", read(page))}
    pictures = [path for kind in ("*.png", "*.jpg") for path in DOCS.rglob(kind)]
    assert pictures and not [str(path) for path in pictures if path.resolve() not in shown]


@pytest.mark.slow
@each_page
def test_python_snippets_run_and_print_what_their_comments_say(path, tmp_path):
    shutil.copytree(ROOT / "samples", tmp_path / "samples")
    for block in blocks(read(path), "python"):
        environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
        outcome = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, check=False, text=True
        )
        assert outcome.returncode == 0, outcome.stderr
        for expected in re.findall(r"^ *print\(.*\)  # (.+)$", block, re.MULTILINE):
            assert expected in outcome.stdout.splitlines()
