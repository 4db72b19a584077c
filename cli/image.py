"""Define the command `osediff image`."""

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.help import OUTPUT, UNCERTAINTY, command, option
from cli.jobs.progress import ImageProgress
from cli.model_options import build_upscaler, drawing_options, image_options, model_options, size_options
from cli.printing import say
from cli.video_options import overwrite_option
from image_core.errors import NotFiniteError, OseDiffError, OutputError
from image_core.options import Draws
from osediff_video.options import parse_size
from osediff_video.suffixes import IMAGES, UNREADABLE_IMAGES, is_image

if TYPE_CHECKING:
    from image_core.images import ImageArray
    from image_core.upscaler import Upscaler


@command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@option(
    OUTPUT,
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File or folder to write.  [default: a PNG beside SOURCE]",
)
@overwrite_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Report results as JSON, one object per image.")
@size_options
@model_options
@option(
    UNCERTAINTY,
    "--uncertainty",
    type=click.Path(path_type=Path),
    metavar="MAP.png",
    help="Map of per-pixel uncertainty to write, with a coloured one beside it; a folder for several images.",
)
@drawing_options
def image(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    size: str | None,
    uncertainty: Path | None,
    draws: int,
    seed: int,
    **values: Any,
) -> None:  # fmt: skip
    """Make every SOURCE, an image, a folder of images or a quoted pattern, sharper and larger."""
    options = image_options(values)
    check_size(size)
    paths = expand(sources)
    several = len(paths) > 1 or any(names_several(source) for source in sources)
    if several and output is not None and is_image(output):
        raise click.UsageError(f"several images need a folder as output, got {output}")
    targets = [image_target(path, output, size or f"x{options.scale:g}", several) for path in paths]
    maps = [map_for(target, uncertainty, several) for target in targets]
    check_outputs(paths, targets, maps, overwrite, several)
    for folder in (output, uncertainty):
        if several and folder is not None:
            folder.mkdir(exist_ok=True)

    from osediff_video.images.image_file import read_image, write_image
    from osediff_video.plan import output_size

    upscaler = build_upscaler(options, **values)
    report = report_json if as_json else report_line
    failed = 0
    for path, target, map_path in zip(paths, targets, maps, strict=True):
        try:
            file = read_image(path)
            shape = output_size(file.image.shape[0], file.image.shape[1], options.scale, size)
            progress = ImageProgress(path)
            upscaler.progress = progress
            image = upscaler([file.model_input], shape)[0]
            progress.end()
            result, lost = file.enlarged(image).fitted(target.suffix)
            write_image(target, result, overwrite=overwrite)
            report(path, target=str(target), width=shape[1], height=shape[0], notes=[*file.notes, *lost])
            if map_path is not None:
                tell_uncertainty(upscaler, file.model_input, result.image, map_path, Draws(draws, seed))
        except NotFiniteError as error:
            failed += 1
            report(path, error=str(NotFiniteError(error.index, str(path))))
        except OseDiffError as error:
            if len(paths) == 1 and not as_json:
                raise
            failed += 1
            report(path, error=str(error))
        except MemoryError as error:
            failed += 1
            report(path, error=f"{path}: not enough memory for this image ({error})")
    if failed:
        say(f"{failed} of {len(paths)} images failed")
        raise SystemExit(1)


def names_several(source: str) -> bool:
    """Return whether a source stands for any number of images, also when it is one today: a folder or a pattern."""
    path = Path(source)
    return path.is_dir() or (glob.has_magic(source) and not path.exists())


def report_line(source: Path, *, error: str = "", target: str = "", notes: Sequence[str] = (), **_: Any) -> None:
    """Say on standard error what became of one image."""
    for note in notes:
        say(f"note: {source}: {note}")
    say(f"Error: {error}" if error else f"{source} -> {target}")


def report_json(source: Path, **facts: Any) -> None:
    """Print what became of one image as one JSON object on standard output."""
    click.echo(json.dumps({"source": str(source), **facts}))


def check_size(size: str | None) -> None:
    """Refuse words that are no size. Raises UsageError."""
    try:
        parse_size(size or "100", 100, 100)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def map_for(target: Path, uncertainty: Path | None, several: bool) -> Path | None:
    """Return where the map of the result `target` goes."""
    if uncertainty is None:
        return None
    return uncertainty / f"{target.stem}_map.png" if several or uncertainty.is_dir() else uncertainty


def check_outputs(
    sources: list[Path], targets: list[Path], maps: list[Path | None], overwrite: bool, several: bool
) -> None:
    """Refuse what cannot be written, before the model is loaded.

    several: their folders are made. Raises UsageError, ImageError, OutputError.
    """
    from osediff_video.target import check_image_target

    planned = list(zip(sources, targets, strict=True))
    for source, path in zip(sources, maps, strict=True):
        if path is None:
            continue
        if path.suffix.lower() != ".png":
            raise OutputError(f"{path}: a map of uncertainty is a 16-bit PNG; name it .png, or name a folder")

        from osediff_video.images.uncertainty_maps import overlay_path

        planned += [(source, path), (source, overlay_path(path))]
    seen: set[Path] = set()
    for source, target in planned:
        if target.absolute() in seen:
            raise click.UsageError(f"two images would both be written to {target}; use different names or folders")
        seen.add(target.absolute())
        check_image_target(source, target, overwrite)
        folder = target.absolute().parent
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: exists and is not a folder; choose another folder for results")
        if not (folder.parent if several else folder).is_dir():
            raise OutputError(f"{folder}: no such folder; create it first")


def tell_uncertainty(upscaler: "Upscaler", image: "ImageArray", result: "ImageArray", path: Path, draws: Draws) -> None:
    """Draw, write the map and its overlay, and say what they show. Raises OutputError or OutOfMemoryError."""
    from image_core.uncertainty import spread
    from osediff_video.images.uncertainty_maps import overlay_path, write_map

    measured = spread(upscaler, image, draws)
    write_map(path, result, measured, draws, upscaler.identity)
    say(f"{path}, {overlay_path(path)}: {measured}")


def expand(sources: tuple[str, ...]) -> list[Path]:
    """Return files as given and the images in folders and patterns, in order. Raises UsageError where none are."""
    images: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = sorted(
                p
                for p in path.iterdir()
                if (is_image(p) or p.suffix.lower() in UNREADABLE_IMAGES) and not p.name.startswith(".")
            )
        elif path.exists() or not glob.has_magic(source):
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 - may be absolute
        if not matches:
            raise click.UsageError(f"{source}: no images here (expected {' '.join(IMAGES)})")
        images += matches
    return images


def image_target(source: Path, output: Path | None, label: str, several: bool) -> Path:
    """Return where the result goes: a PNG named by `label` ("x4", "1080p"), unless the output's name says otherwise."""
    from osediff_video.target import default_image_target

    default = default_image_target(source, label)
    if output is None:
        return default
    return output / default.name if several or output.is_dir() else output
