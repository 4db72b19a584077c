"""The arrows of the architecture: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("image_core", "osediff_video", "train", "page", "cli")
FORBIDDEN = {
    "image_core": {"osediff_video", "train", "page", "cli", "av", "cv2", "click", "accelerate", "ray"},
    "osediff_video": {"train", "page", "cli", "click", "accelerate", "peft", "gradio"},
    "train": {"page", "cli", "click"},
    "page": {"image_core", "train", "cli", "click", "torch", "av", "cv2"},
    "cli": set(),
}
HEAVY = {
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "peft",
    "timm",
    "huggingface_hub",
    "av",
    "cv2",
    "numpy",
    "PIL",
    "rich",
    "psutil",
    "page",
    "gradio",
}


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of everything that `tree` imports, but for what only type checkers read."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_crosses_a_wall(package):
    for path in sources(package):
        crossed = imports(ast.parse(path.read_text())) & FORBIDDEN[package]
        assert not crossed, f"{path.relative_to(ROOT)} imports {crossed}"


def test_commands_import_heavy_libraries_inside_their_bodies():
    for path in sources("cli"):
        tree = ast.parse(path.read_text())
        outside = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        heavy = imports(ast.Module(outside, [])) & HEAVY
        assert not heavy, f"{path.name} imports {heavy} before it is run"


def test_the_page_goes_through_the_public_door_and_only_its_command_knows_it():
    for path in sources("page"):
        inner = {module for module in imported_modules(path) if (module or "").startswith("osediff_video.")}
        assert not inner, f"{path.relative_to(ROOT)} imports {inner}"
    for path in sources("cli"):
        assert path.name == "gui.py" or "page" not in imports(ast.parse(path.read_text())), path


def test_train_reaches_into_video_only_for_media_flow_and_metrics():
    for path in sources("train"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("osediff_video"):
                assert (node.module or "").split(".")[1:2] in (["media"], ["temporal"], ["metrics"], ["suffixes"])


STORY = {"api", "chain", "finish", "run"}
"""Rooms on top of osediff_video that tell how a video is made; nothing below them may know them. `workflow` stands
around a whole job, above them, and only the public door knows it; `farm` tells the same story over many machines.
"""


def imported_modules(path):
    return {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}


def test_below_the_folder_of_models_nothing_imports_it():
    for path in sources("image_core"):
        if path.parent.name != "models":
            upwards = {module for module in imported_modules(path) if (module or "").startswith("image_core.models")}
            assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def test_folders_of_osediff_video_do_not_know_the_story_on_top():
    for path in sources("osediff_video"):
        if path.parent.name not in ("osediff_video", "workflow", "farm"):
            upwards = {module for module in imported_modules(path) if module in {f"osediff_video.{n}" for n in STORY}}
            assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def test_only_the_door_knows_what_stands_around_a_job():
    for path in sources("osediff_video"):
        if path.parent.name != "workflow" and path != ROOT / "osediff_video" / "__init__.py":
            assert not {m for m in imported_modules(path) if (m or "").startswith("osediff_video.workflow")}, path


FLOORS = {
    "image_core/storage": ["image_core.errors", "image_core.storage"],
    "train/data": ["image_core", "osediff_video", "train.config", "train.recipe", "train.item_random", "train.data"],
    "train/losses": [
        "image_core",
        "osediff_video.temporal",
        "train.schedule",
        "train.networks",
        "train.losses",
    ],
    "train/networks": ["image_core", "train.config", "train.schedule", "train.networks"],
    "osediff_video/media/reading": ["image_core", "osediff_video.types", "osediff_video.media"],
}
"""What a folder may import of the project."""

BESIDE = [
    ("osediff_video/media", "osediff_video.job"),
    ("osediff_video/media", "osediff_video.sources"),
    ("osediff_video/media/reading", "osediff_video.media.writing"),
    ("osediff_video/temporal", "osediff_video.media"),
    ("osediff_video/shots", "osediff_video.job"),
    ("osediff_video/metrics", "osediff_video.job"),
    ("image_core/storage", "image_core.device"),
]
"""Folders, and what beside them they must not know."""


@pytest.mark.parametrize("folder", FLOORS)
def test_a_folder_imports_only_what_it_stands_on(folder):
    for path in sources(folder):
        own = {name for name in imported_modules(path) if (name or "").split(".")[0] in PACKAGES}
        above = {name for name in own if not any(name.startswith(floor) for floor in FLOORS[folder])}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


@pytest.mark.parametrize(("folder", "unknown"), BESIDE)
def test_folders_beside_each_other_do_not_know_each_other(folder, unknown):
    for path in sources(folder):
        known = {name for name in imported_modules(path) if (name or "").startswith(unknown)}
        assert not known, f"{path.relative_to(ROOT)} imports {known}"


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_each_other_in_no_circle(package):
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in sources(package)}
    arrows = {name: imported_modules(path) & modules.keys() for name, path in modules.items()}
    while free := {name for name, targets in arrows.items() if not targets}:
        arrows = {name: targets - free for name, targets in arrows.items() if name not in free}
    assert not arrows, f"these import each other in a circle: {sorted(arrows)}"


def test_no_folder_has_more_siblings_than_a_reader_can_survey():
    for package in PACKAGES:
        for folder in {path.parent for path in sources(package)}:
            siblings = [p for p in folder.iterdir() if p.suffix == ".py" or (p.is_dir() and list(p.glob("*.py")))]
            siblings = [p for p in siblings if p.name != "__init__.py"]
            assert len(siblings) <= 22, f"{folder.relative_to(ROOT)} has {len(siblings)} siblings"


def test_nothing_imports_benchmarks_or_tests():
    for package in PACKAGES:
        for path in sources(package):
            assert not imports(ast.parse(path.read_text())) & {"benchmarks", "tests"}, path
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert "benchmarks" not in imports(ast.parse(path.read_text())), path
