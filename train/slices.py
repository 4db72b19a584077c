"""Train the embedded model in slices, where a GPU can be had for minutes and files of 50 MB reach it.

python -m train.slices pack slice.tar [--recipes R...] [--set data.folder=IMAGES] [--limit-mb 50]
python -m train.slices run slice.tar --minutes 9 --out result.tar [--set data.workers=12]
python -m train.slices unpack result.tar [--runs runs]

pack and unpack where the images and the run folders are, run where the GPU is, or on any CPU, with this repository
and no other file. run trains the recipes in order until the minutes are over; start and end come on top. After unpack
the next pack goes on from there, and so does `osediff train` with the same recipes.

A slice holds the recipes, light checkpoints (train/light_checkpoint.py), the images kept out, so that recipe and
validation stay as they are, and of the others as many as there is room for. The next slice takes those that follow,
in a random order, until all were seen and it begins again. So a run in slices is not equal to the bit to one in one
go: a step draws from a part of the images, and what is carried is rounded. The latent that the stages share is
measured on all of them, here. Of 534 images of 100 kB, 50 MB hold 478 at first, 426 while the autoencoder of the
embedded model trains, 191 beside its prior (27 MB) and 43 beside its generator (34 MB, and 8 of the prior): there,
shorter slices see more.

Each prints one JSON line, after lines that begin with #.
"""

import argparse
import json
import random
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors.torch import save_file

from image_core.errors import OseDiffError
from image_core.storage.files import replacing, write_whole
from train.config import RecipeError
from train.data.files import Sources, find_sources
from train.light_checkpoint import read_thin, save_thin
from train.runs import Run, plan_runs, train_runs
from train.stage import block_latent
from train.state import find_checkpoint, read_run, save_checkpoint

RECIPES = [Path(f"train/recipes/lite-{stage}.toml") for stage in ("autoencoder", "prior", "generator")]
STORY = "slice.json"  # recipes: their names; settings: of --set; next: where the images of the next slice begin
LATENT = "latent.safetensors"
Entry = tuple[str, Path]
"""A name in the archive, and the file that goes there."""


def plan(files: Sequence[Path], settings: Sequence[str], folder: Path) -> list[Run]:
    return plan_runs(files, tuple(settings), folder if len(files) > 1 else folder / files[0].stem)


def step_of(run: Path) -> int:
    file = find_checkpoint(run)
    return int(file.stem.removeprefix("step-")) if file else 0


def row(key: str, file: Path, runs: Sequence[Run], **more: object) -> dict[str, Any]:
    steps = {one.folder.name: f"{step_of(one.folder)} of {one.recipe.loop.steps}" for one in runs}
    return {key: str(file), "mb": round(file.stat().st_size / 1e6, 2), **more, "steps": steps}


def pack(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    runs = plan(arguments.recipes, arguments.settings, arguments.runs)
    training, kept_out = carried(runs)
    order = random.Random(0).sample(training, len(training))  # names follow the collections; a shard should not
    story = {"recipes": [one.folder.name for one in runs], "settings": arguments.settings, "next": len(order)}
    latent = block_latent(runs[0].recipe).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in latent.items()}, folder / LATENT)
    (folder / STORY).write_text(json.dumps(story))
    fixed = [(STORY, folder / STORY), (LATENT, folder / LATENT)]
    fixed += [(f"recipes/{path.name}", path) for path in arguments.recipes]
    fixed += thin_runs(runs, folder, {})
    fixed += [("images/" + name, path) for name, path in kept_out]

    seen = arguments.runs / STORY
    first = json.loads(seen.read_text())["next"] % len(order) if seen.is_file() else 0
    shard = fill_up([("images/" + name, path) for name, path in order[first:] + order[:first]], fixed, arguments)
    (folder / STORY).write_text(json.dumps(story | {"next": (first + len(shard)) % len(order)}))
    write_tar(arguments.file, [*fixed, *shard])
    counts = {"images": len(shard), "of": len(order), "kept_out": len(kept_out)}
    return row("slice", arguments.file, runs, **counts)


def carried(runs: Sequence[Run]) -> tuple[list[Entry], list[Entry]]:
    """Return the images to learn from, and those kept out. Raises RecipeError for what a slice cannot carry."""
    runs_here = {f"runs/{one.folder.name}" for one in runs}
    first = runs[0].recipe.data
    for name, recipe in ((one.folder.name, one.recipe) for one in runs):
        data = recipe.data
        alike = (data.folder, data.holdout) == (first.folder, first.holdout)
        if recipe.model != "lite" or data.lists or data.clips or not data.folder or not alike:
            raise RecipeError(f"{name}: a slice carries lite models, all on the images of one data.folder")
        for start in {recipe.start.generator, recipe.start.prior} - runs_here - {""}:
            if start.startswith("runs/") or Path(start).exists():
                raise RecipeError(f"{name}: starts from {start}; name its recipe too, finished or not")
    if all(step_of(one.folder) >= one.recipe.loop.steps for one in runs):
        raise RecipeError("every recipe is finished; `osediff train RECIPE... --export OUT` writes the model")

    def named(sources: Sources) -> list[Entry]:
        return [(path.relative_to(first.folder).as_posix(), path) for path in sources.images]

    training, kept_out = find_sources(first)
    return named(training), named(kept_out)


def thin_runs(runs: Sequence[Run], folder: Path, before: dict[Path, int]) -> list[Entry]:
    """Write the newest checkpoint of each run, if it is further than `before`, to `folder`, thin."""
    entries = []
    for one in runs:
        name, step = f"{one.folder.name}.pt", step_of(one.folder)
        if step > before.get(one.folder, 0):
            save_thin(read_run(one.folder), folder / name, finished=step >= one.recipe.loop.steps)
            entries.append((f"runs/{name}", folder / name))
    return entries


def fill_up(images: Sequence[Entry], fixed: Sequence[Entry], arguments: argparse.Namespace) -> list[Entry]:
    """Take as many images, from the first on, as the limit leaves room for. Raises RecipeError where that is none."""
    limit = int(arguments.limit_mb * 1e6) // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * tarfile.BLOCKSIZE
    used = sum(map(size_in_tar, fixed))
    for count, image in enumerate(images):
        used += size_in_tar(image)
        if used > limit and count:
            return list(images[:count])
        if used > limit:
            name, size = image[1].name, size_in_tar(image)
            message = f"what must be there takes {(used - size) / 1e6:.2f} MB, {name} {size / 1e6:.2f} MB more"
            raise RecipeError(f"--limit-mb {arguments.limit_mb:g} cannot hold a single image: {message}; raise it")
    return list(images)


def header(entry: Entry) -> tarfile.TarInfo:
    """Name and size alone: nothing of this machine, nor of today."""
    info = tarfile.TarInfo(entry[0])
    info.size = entry[1].stat().st_size
    return info


def size_in_tar(entry: Entry) -> int:
    info = header(entry)
    return len(info.tobuf()) + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def write_tar(out: Path, entries: Sequence[Entry]) -> None:
    with replacing(out) as part, tarfile.open(part, "w") as tar:
        for entry in entries:
            with entry[1].open("rb") as file:
                tar.addfile(header(entry), file)


def open_tar(path: Path, folder: Path) -> dict[str, Any]:
    """Extract the files below `folder` and return the slice's record. Raises RecipeError for another archive."""
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                extract(tar, member, folder)
        story = json.loads((folder / STORY).read_text())
    except (OSError, tarfile.TarError, ValueError) as error:
        raise RecipeError(f"{path}: neither a slice nor the result of one: {error}") from error
    if any(name != PurePath(name).name for name in story["recipes"]):
        raise RecipeError(f"{path}: {story['recipes']} must be names, not paths")
    return story


def extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one file of an archive below `folder`. Raises ValueError for a link, a device or a path that leads out.

    tarfile's own filter for this is missing in Python before 3.11.4.
    """
    target = (folder / member.name).resolve()
    content = tar.extractfile(member) if member.isfile() else None
    if content is None or not target.is_relative_to(folder.resolve()):
        raise ValueError(f"{member.name} is no file that belongs below this folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    story = open_tar(arguments.file, folder)
    for path in (folder / "runs").glob("*.pt"):
        save_checkpoint(read_thin(path), path.with_suffix(""), keep=1)
    here = {"data.folder": folder / "images", "data.latent": folder / LATENT}
    settings = [*story["settings"], *(f"{key}={path.as_posix()!r}" for key, path in here.items())]
    settings += ["loop.sample_every=0", *arguments.settings]  # sample images would weigh more than all else
    runs = plan([folder / "recipes" / f"{name}.toml" for name in story["recipes"]], settings, folder / "runs")
    before = {one.folder: step_of(one.folder) for one in runs}
    for _ in train_runs(runs, lambda message: print("#", json.dumps(message), flush=True), arguments.minutes):
        pass
    entries = [(STORY, folder / STORY), *thin_runs(runs, folder, before)]
    for one in runs:
        logs = [path for path in one.folder.rglob("*") if path.is_file() and path.suffix != ".pt"]
        entries += [(f"logs/{path.relative_to(folder / 'runs').as_posix()}", path) for path in logs]
    write_tar(arguments.out, entries)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    minutes = round((time.monotonic() - began) / 60, 2)
    return row("result", arguments.out, runs, device=device, minutes=minutes)


def unpack(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    story = open_tar(arguments.file, folder)
    for thin in sorted((folder / "runs").glob("*.pt")):
        content, out = read_thin(thin), arguments.runs / thin.stem
        if content["step"] > step_of(out):
            save_checkpoint(content, out, content["recipe"]["loop"]["keep"])
            bring_logs(folder / "logs" / thin.stem, out)
    write_whole(arguments.runs / STORY, json.dumps({"next": story["next"]}))
    steps = {name: step_of(arguments.runs / name) for name in story["recipes"]}
    return {"runs": str(arguments.runs), "steps": steps}


def bring_logs(source: Path, out: Path) -> None:
    """Append the lines of log.jsonl to those that are there; TensorBoard reads its files side by side."""
    for path in filter(Path.is_file, source.rglob("*")):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb") as new, target.open("ab") as old:
            shutil.copyfileobj(new, old)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True, metavar="pack | run | unpack")
    for work in (pack, run, unpack):
        command = commands.add_parser(work.__name__)
        command.add_argument("file", type=Path)
        command.set_defaults(work=work)
        if work is not run:
            command.add_argument("--runs", type=Path, default=Path("runs"))
        if work is not unpack:
            command.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
        if work is pack:
            command.add_argument("--recipes", type=Path, nargs="+", default=RECIPES)
            command.add_argument("--limit-mb", type=float, default=50.0)
        if work is run:
            command.add_argument("--minutes", type=float, default=9.0)
            command.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(words)
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(arguments.work(arguments, Path(folder))))
    except OseDiffError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
