"""The arrows of the architecture: who may import whom."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("image_core", "osediff_video", "train", "cli")
FORBIDDEN = {
    "image_core": {"osediff_video", "train", "cli", "av", "cv2", "click", "accelerate", "ray"},
    "osediff_video": {"train", "cli", "click", "accelerate", "peft"},
    "train": {"cli", "click"},
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
}


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of everything that `tree` imports, but for what only type checkers read."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


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


def test_train_reaches_into_video_only_for_media_flow_and_metrics():
    for path in sources("train"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("osediff_video"):
                assert (node.module or "").split(".")[1:2] in (["media"], ["temporal"], ["metrics"], ["suffixes"])


STORY = {"api", "chain", "finish", "run"}
"""Rooms on top of osediff_video that tell how a video is made; nothing below them may know them."""


def imported_modules(path):
    return {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}


def test_below_the_folder_of_models_nothing_imports_it():
    for path in sources("image_core"):
        if path.parent.name != "models":
            upwards = {module for module in imported_modules(path) if (module or "").startswith("image_core.models")}
            assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def test_folders_of_osediff_video_do_not_know_the_story_on_top():
    for path in sources("osediff_video"):
        if path.parent.name != "osediff_video":
            upwards = {module for module in imported_modules(path) if module in {f"osediff_video.{n}" for n in STORY}}
            assert not upwards, f"{path.relative_to(ROOT)} imports {upwards}"


def test_nothing_imports_benchmarks_or_tests():
    for package in PACKAGES:
        for path in sources(package):
            assert not imports(ast.parse(path.read_text())) & {"benchmarks", "tests"}, path
    for path in sorted((ROOT / "tests").rglob("*.py")):
        assert "benchmarks" not in imports(ast.parse(path.read_text())), path
