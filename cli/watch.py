"""Define the command `osediff-video watch`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.help import OUTPUT, command, option
from cli.model_options import build_upscaler, image_options, model_options, size_options
from cli.printing import say
from cli.video_options import (
    check_named_files,
    encoding,
    on_done_option,
    reading_options,
    strict_option,
    video_options,
    writing_options,
)
from osediff_video.suffixes import is_image

if TYPE_CHECKING:
    from cli.jobs.progress import Teller

WATCHING = "Watching"


@command()
@click.argument("folder", type=click.Path(path_type=Path))
@option(OUTPUT, "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for results.")
@option(
    WATCHING,
    "--settle",
    "settle_s",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    help="Seconds, 0.1 to 3600, for which a file must not change before it counts as complete.",
)
@option(WATCHING, "--once", is_flag=True, help="End when everything in FOLDER was handled.")
@on_done_option
@strict_option
@size_options
@model_options
@reading_options
@writing_options
def watch(
    folder: Path, output: Path, settle_s: float, once: bool, on_done: list[str] | None, **values: Any
) -> None:  # fmt: skip
    """Upscale videos and images that arrive in FOLDER, each when it is complete, until it is interrupted.

    Folders in it are watched too; results lie in OUTPUT as their sources do in FOLDER. What is there already is
    upscaled too. The options are those of `upscale`. One that fails is reported, and tried
    again when its file changes. Run again, the same command goes on where it was interrupted.
    """
    images, options, how = image_options(values), video_options(values), encoding(values)
    check_named_files(options)
    label = options.size or f"x{images.scale:g}"

    from cli.jobs.progress import Teller, is_well_done
    from image_core.errors import OseDiffError
    from osediff_video.api import upscale_image
    from osediff_video.run import upscale_video
    from osediff_video.target import default_image_target, result_name
    from osediff_video.workflow.on_done import run_on_done
    from osediff_video.workflow.watch import check_watched, complete_files, place_in

    check_watched(folder, output)
    output.mkdir(exist_ok=True)
    upscaler = build_upscaler(images, **values)

    def handle(source: Path, teller: "Teller") -> bool:
        """Upscale one file; return whether it is whole. Raises OseDiffError."""
        if is_image(source):
            target = place_in(output, source, folder, default_image_target(source, label).name)
            if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
                teller.line(f"{target}: finished by an earlier run; nothing to do")
                return True
            upscale_image(source, target, model=upscaler, size=options.size, report=teller.line)
            teller.line(f"{source} -> {target}")
        else:
            target = place_in(output, source, folder, result_name(source, label))
            progress, planned = teller.progress, teller.planned
            result = upscale_video(source, target, upscaler, how, options, progress=progress, planned=planned)
            return is_well_done(teller, result, options.allow_damaged, on_done)
        if on_done:
            run_on_done(on_done, target)
        return True

    failed = False
    say(f"{folder}: watched; results go to {output}")
    try:
        for source in complete_files(folder, settle_s, output=output, once=once):
            teller = Teller(source)
            try:
                failed |= not handle(source, teller)
            except OseDiffError as error:
                failed = True
                teller.failed(str(error))
    except KeyboardInterrupt:
        say(f"{folder}: no longer watched; what is finished is kept. Run the same command again to go on.")
    if failed:
        raise SystemExit(1)
