"""Define the command `osediff-video plan`."""

from pathlib import Path
from typing import Any

import click

from cli.help import OUTPUT, command, option
from cli.jobs.sources import jobs
from cli.model_options import build_upscaler, image_options, model_options, size_options
from cli.video_options import (
    check_named_files,
    encoding,
    map_options,
    overwrite_option,
    range_options,
    reading_options,
    strict_option,
    video_options,
    writing_options,
)


@command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@option(
    OUTPUT,
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File or folder that `upscale` would write.  [default: beside SOURCE]",
)
@overwrite_option
@option(OUTPUT, "--restart", is_flag=True, help="Discard unfinished work and start over.")
@strict_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Report as JSON events on standard output.")
@size_options
@range_options
@model_options
@reading_options
@writing_options
@map_options
def plan(
    sources: tuple[Path, ...], output: Path | None, overwrite: bool, restart: bool, as_json: bool, **values: Any
) -> None:
    """Read every SOURCE once and record what its segments need, so that several processes can make them.

    The record lies beside the output, in a folder that ends in .osediff. Then `upscale` with the same options and
    --segments A-B makes a part of them, on any machine that sees the folder, and `assemble` puts all together.
    """
    images, options, how = image_options(values), video_options(values), encoding(values)
    pairs = jobs(sources, output, options.size or f"x{images.scale:g}")
    check_named_files(options)

    from cli.jobs.progress import JsonTeller, Teller
    from image_core.errors import OseDiffError
    from osediff_video.farm.planning import plan_job
    from osediff_video.target import check_target

    for source, target in pairs:
        if source not in sources:  # of a folder that is mirrored
            target.parent.mkdir(parents=True, exist_ok=True)
        check_target(source, target, overwrite)
    upscaler, failed = build_upscaler(images, **values), 0
    for source, target in pairs:
        teller = (JsonTeller if as_json else Teller)(source)
        try:
            teller.surveyed(
                plan_job(
                    source,
                    target,
                    upscaler,
                    how,
                    options,
                    restart=restart,
                    overwrite=overwrite,
                    planned=teller.planned,
                )
            )
        except OseDiffError as error:
            if len(pairs) == 1:
                raise
            failed += 1
            teller.failed(str(error))
    if failed:
        raise SystemExit(1)
