"""Define the command `osediff-video upscale`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.help import OUTPUT, command, option
from cli.jobs.sources import jobs
from cli.model_options import build_upscaler, image_options, model_options, size_options
from cli.printing import say
from cli.video_options import (
    check_named_files,
    encoding,
    farm_options,
    map_options,
    on_done_option,
    overwrite_option,
    pipe_option,
    pop_farm,
    range_options,
    reading_options,
    strict_option,
    video_options,
    writing_options,
)
from osediff_video.media.reading.stdin import PIPE
from osediff_video.options import VideoOptions

if TYPE_CHECKING:
    from cli.jobs.progress import Teller
    from image_core.errors import OseDiffError
    from image_core.upscaler import Upscaler


@command()
@click.argument(
    "sources", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="SOURCE..."
)
@option(
    OUTPUT,
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File or folder to write, - for standard output.  [default: beside SOURCE]",
)
@overwrite_option
@option(OUTPUT, "--restart", is_flag=True, help="Discard unfinished work and start over.")
@strict_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Report progress as JSON events on standard output.")
@on_done_option
@size_options
@range_options
@model_options
@reading_options
@writing_options
@pipe_option
@map_options
@farm_options
def upscale(
    sources: tuple[Path, ...],
    output: Path | None,
    overwrite: bool,
    restart: bool,
    as_json: bool,
    on_done: list[str] | None,
    segments: range | None,
    **values: Any,
) -> None:
    """Make every SOURCE, a video or a folder of frames, sharper and larger.

    The output keeps every frame, every timestamp and every stream: in.mp4 becomes in_x4.mp4, a folder of frames a
    folder of PNG frames (or a video, if OUTPUT ends in .mp4, .mov, .mkv, .webm, .ts or .gif), and a folder of videos a
    folder like it. Numbered frames are named as FFmpeg does: in/%06d.png, out/%06d.tif. Interrupted at any time, the
    same command resumes.
    """
    images, options, how = image_options(values), video_options(values), encoding(values)
    pairs = jobs(sources, output, options.size or f"x{images.scale:g}")
    if as_json and any(target == PIPE for _, target in pairs):
        raise click.UsageError("--json and --output - would both write to standard output; leave one of them out")
    allow_mixed, farm = values["allow_mixed"], pop_farm(values)
    if segments is not None and farm is not None:
        raise click.UsageError("--segments are made by this process alone; leave out --workers and --cluster")
    if segments is not None and len(pairs) > 1:
        raise click.UsageError("--segments takes one SOURCE: each has segments of its own")
    if segments is not None and restart:
        raise click.UsageError("--segments cannot start over, since others may be at work; use plan --restart")
    if allow_mixed and segments is None and farm is None:
        raise click.UsageError(
            "--allow-mixed concerns work by several processes; add --segments, --workers or --cluster"
        )
    if on_done and (segments is not None or any(target == PIPE for _, target in pairs)):
        raise click.UsageError("--on-done needs a finished file; it goes with neither --segments nor --output -")
    check_extras(options, pairs, overwrite or restart or segments is not None)

    from cli.jobs.progress import JsonTeller, Teller, is_well_done
    from image_core.errors import OseDiffError
    from osediff_video.job.finished import check_target_or_finished, plan_run

    mirrored = any(source not in sources for source, _ in pairs)
    failed, accepted = 0, []
    for source, target in pairs:
        if mirrored:
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            check_target_or_finished(source, target, overwrite)
            accepted.append((source, target))
        except OseDiffError as error:
            if len(pairs) == 1:
                raise
            failed += 1
            (JsonTeller if as_json else Teller)(source).failed(str(error))
    if not accepted:
        raise SystemExit(1)
    if farm is not None:
        from cli.jobs.workers import by_workers

        if failed + by_workers(accepted, images, options, how, farm, restart, overwrite, as_json, on_done, **values):
            raise SystemExit(1)
        return
    upscaler: Upscaler | None = None
    for source, target in accepted:
        teller = (JsonTeller if as_json else Teller)(source)
        try:
            job = None
            if segments is None:
                job = plan_run(source, target, images.scale, how, options, restart=restart, overwrite=overwrite)
        except OseDiffError as error:
            failed += refused(error, teller, len(pairs) == 1 and not as_json)
            continue
        upscaler = upscaler or build_upscaler(images, **values)

        from osediff_video.farm.stretch import make_stretch  # with torch, for which a refusal must not wait
        from osediff_video.run import upscale_planned

        try:
            progress, planned = teller.progress, teller.planned
            if segments is not None:
                stretch = make_stretch(
                    source,
                    target,
                    upscaler,
                    how,
                    options,
                    segments=segments,
                    mixed=allow_mixed,
                    overwrite=overwrite,
                    progress=progress,
                    planned=planned,
                )
                teller.stretched(stretch)
                continue
            assert job is not None
            plan, finished = job
            result = upscale_planned(plan, upscaler, finished, restart=restart, progress=progress, planned=planned)
        except OseDiffError as error:
            failed += refused(error, teller, len(pairs) == 1 and not as_json)
            continue
        except KeyboardInterrupt:
            teller.end()
            say(f"{source}: stopped; finished segments are kept. Run the same command again to resume.")
            raise SystemExit(1) from None
        failed += not is_well_done(teller, result, options.allow_damaged, on_done)
    if failed:
        raise SystemExit(1)


def refused(error: "OseDiffError", teller: "Teller", is_all: bool) -> int:
    """Report that one of several sources failed, and return 1; raise the error where it is all there is."""
    if is_all:
        teller.end()
        raise error
    teller.failed(str(error))
    return 1


def check_extras(options: VideoOptions, pairs: list[tuple[Path, Path]], overwrite: bool) -> None:
    """Refuse what cannot work before the model is loaded: files that options name, and the folder for maps.

    Raises OseDiffError or UsageError.
    """
    check_named_files(options)
    if not options.uncertainty:
        return
    if len(pairs) > 1:
        raise click.UsageError("--uncertainty takes one video at a time: the maps of several would have the same names")

    from image_core.errors import OutputError
    from osediff_video.job.folder import job_folder

    folder, resumed = Path(options.uncertainty), job_folder(pairs[0][1]).is_dir()
    if not folder.parent.is_dir():
        raise OutputError(f"{folder.parent}: no such folder; create it first")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: exists and is not a folder; choose another folder for maps")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite or resumed):
        raise OutputError(f"{folder}: holds files already; choose an empty folder for maps, or add --overwrite")
    folder.mkdir(exist_ok=True)
