"""`osediff image`"""

import glob
from pathlib import Path
from typing import Any

import click

from cli.model import build_upscaler, model_options, say
from image_core.errors import OseDiffError, OutputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif")


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: beside SOURCE]"
)
@model_options
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def image(sources: tuple[str, ...], output: Path | None, overwrite: bool, **model: Any) -> None:
    """Make every SOURCE, a picture, a folder of pictures or a quoted pattern, sharper and larger."""
    paths = expand(sources)
    several = len(paths) > 1 or any(Path(source).is_dir() for source in sources)
    if several and output is not None and output.suffix.lower() in SUFFIXES:
        raise click.UsageError(f"several pictures need a folder as output, got {output}")
    targets = [target_for(path, output, model["scale"], several) for path in paths]
    for path, target in zip(paths, targets, strict=True):
        check_picture_target(path, target, overwrite)

    from osediff_video.picture import read_picture, write_picture

    upscaler = build_upscaler(**model)
    failed = 0
    for path, target in zip(paths, targets, strict=True):
        try:
            picture = read_picture(path)
            result, lost = picture.enlarged(upscaler([picture.image])[0]).fitted(target.suffix)
            for note in lost:
                say(f"note: {path}: {note}")
            write_picture(target, result)
            say(f"{path} -> {target}")
        except OseDiffError as error:
            if len(paths) == 1:
                raise
            failed += 1
            say(f"Error: {error}")
    if failed:
        say(f"{failed} of {len(paths)} pictures failed")
        raise SystemExit(1)


def expand(sources: tuple[str, ...]) -> list[Path]:
    """Files as given; folders and patterns become the pictures in them, in order. Raises UsageError for nothing."""
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        elif path.exists() or not glob.has_magic(source):
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 - may be absolute
        if not matches:
            raise click.UsageError(f"{source}: no pictures here (expected {' '.join(SUFFIXES)})")
        found += matches
    return found


def target_for(source: Path, output: Path | None, scale: float, several: bool) -> Path:
    """Lossy and lossless pictures alike are written as PNG unless the output's name says otherwise."""
    name = f"{source.stem}_x{scale:g}.png"
    if output is None:
        return source.parent / name
    return output / name if several or output.is_dir() else output


def check_picture_target(source: Path, target: Path, overwrite: bool) -> None:
    """Fail before the model is loaded. Raises OutputError."""
    if target.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{target}: cannot write this kind of picture; expected {' '.join(SUFFIXES)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the source itself; choose another --output")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; --overwrite replaces it")
    if not target.parent.is_dir():
        raise OutputError(f"{target.parent}: no such folder; make it first")
