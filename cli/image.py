"""Define the command `osediff image`."""

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.help import MODEL, OUTPUT, UNCERTAINTY, command, option
from cli.jobs.progress import ImageProgress
from cli.model_options import build_upscaler, draws_option, image_options, model_options, seed_option, size_options
from cli.printing import say
from cli.video_options import on_done_option, overwrite_option
from image_core.errors import OseDiffError, OutputError
from image_core.options import AsPublished, Draws, UpscaleOptions
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
@on_done_option
@size_options
@model_options
@option(
    MODEL,
    "--as-published",
    is_flag=True,
    help="Make images as the authors' test code does, to compare with their paper; OUTPUT is a folder, names stay.",
)
@option(
    UNCERTAINTY,
    "--uncertainty",
    type=click.Path(path_type=Path),
    metavar="MAP.png",
    help="Map of per-pixel uncertainty to write, with a coloured one beside it; a folder for several images.",
)
@draws_option
@seed_option(UNCERTAINTY, "--draws and --as-published")
def image(
    sources: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    on_done: list[str] | None,
    size: str | None,
    as_published: bool,
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
    published = published_wish(options, output, size, uncertainty, seed) if as_published else None
    several |= published is not None and not is_image(output or Path())
    if several and output is not None and is_image(output):
        raise click.UsageError(f"several images need a folder as output, got {output}")
    label = "" if published else size or f"x{options.scale:g}"
    targets = [image_target(path, output, label, several) for path in paths]
    maps = [map_for(target, uncertainty, several) for target in targets]
    check_outputs(paths, targets, maps, overwrite, several)
    for folder in (output, uncertainty):
        if several and folder is not None:
            folder.mkdir(exist_ok=True)

    from osediff_video.images.image_file import read_image, write_image
    from osediff_video.images.restore import restore_file
    from osediff_video.workflow.on_done import run_on_done

    upscaler = build_upscaler(options, **values)
    if published:
        from image_core.draws.as_published import check_model

        check_model(upscaler)
    report = report_json if as_json else report_line
    failed = 0
    for path, target, map_path in zip(paths, targets, maps, strict=True):
        try:
            file = read_image(path)
            progress = ImageProgress(path)
            upscaler.progress = progress
            made, notes = restore_file(upscaler, file, str(path), options.scale, size, published)
            progress.end()
            result, lost = made.fitted(target.suffix)
            write_image(target, result, overwrite=overwrite)
            height, width = result.image.shape[:2]
            report(path, target=str(target), width=width, height=height, notes=[*file.notes, *notes, *lost])
            if map_path is not None:
                tell_uncertainty(upscaler, file.model_input, result.image, map_path, Draws(draws, seed))
            if on_done:
                run_on_done(on_done, target)
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


def published_wish(
    options: UpscaleOptions, output: Path | None, size: str | None, uncertainty: Path | None, seed: int
) -> AsPublished:
    """Return what --as-published asks for. Raises UsageError for what contradicts it."""
    wish = AsPublished(seed)
    try:
        wish.check(options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if size is not None:
        raise click.UsageError(
            "--as-published goes by --scale, a whole number, as the published code does; leave --size out"
        )
    if uncertainty is not None:
        raise click.UsageError("--as-published makes one draw; leave --uncertainty out, whose map compares several")
    if output is None or (is_image(output) and output.suffix.lower() != ".png"):
        given = "nothing" if output is None else f"{output}"
        raise click.UsageError(f"--as-published keeps names, as PNG: expected -o FOLDER for the results, got {given}")
    return wish


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
    from image_core.draws.uncertainty import spread
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
    """Return where the result goes: a PNG named by `label` ("x4", "1080p"), unless the output's name says otherwise.

    label: "" keeps the source's name.
    """
    from osediff_video.target import default_image_target

    default = default_image_target(source, label) if label else source.with_suffix(".png")
    if output is None:
        return default
    return output / default.name if several or output.is_dir() else output
