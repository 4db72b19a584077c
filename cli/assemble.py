"""Define the command `osediff-video assemble`."""

from pathlib import Path

import click

from cli.help import OUTPUT, READING, command, option
from cli.video_options import overwrite_option


@command()
@click.argument("target", type=click.Path(path_type=Path))
@option(
    READING,
    "--source",
    type=click.Path(path_type=Path),
    help="Where the input lies on this machine.  [default: where it was when the job was planned]",
)
@overwrite_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Report as JSON events on standard output.")
def assemble(target: Path, source: Path | None, overwrite: bool, as_json: bool) -> None:
    """Put the segments of TARGET together, which several processes made by `upscale --segments`.

    All settings are those that `plan` was given; segments that are missing are named.
    """
    from cli.jobs.progress import JsonTeller, Teller
    from osediff_video.farm.joining import assemble_job

    teller = (JsonTeller if as_json else Teller)(source or target)
    result = assemble_job(target, source=source, overwrite=overwrite)
    teller.done(result)
    if not (result.complete and (result.verification is None or result.verification.ok)):
        raise SystemExit(1)
