"""Define the command `osediff-video compare`."""

from pathlib import Path
from typing import Any

import click

from cli.help import OUTPUT, command, option
from cli.printing import write
from cli.video_options import encoding, overwrite_option, writing_options
from osediff_video.options import LAYOUTS, Layout


@command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@option(OUTPUT, "-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: beside SECOND]")
@overwrite_option
@option(
    OUTPUT,
    "--layout",
    type=click.Choice(LAYOUTS),
    default="side",
    show_default=True,
    help="Arrangement: side by side, split by a line, or wipe with a moving divider.",
)
@writing_options
def compare(first: Path, second: Path, output: Path | None, layout: Layout, overwrite: bool, **values: Any) -> None:
    """Show FIRST and SECOND, two videos or two images, in one; frames are paired in order, sound is from SECOND."""
    how = encoding(values)

    from osediff_video.suffixes import is_image

    images = is_image(second) and second.is_file()
    target = output or second.with_name(f"{first.stem}_vs_{second.stem}{'.png' if images else '.mp4'}")

    from osediff_video.target import check_image_target, check_target

    if images:
        from osediff_video.images.image_file import ImageFile, read_image, write_image
        from osediff_video.sources.comparison import compose

        for source in (first, second):
            check_image_target(source, target, overwrite)
        write_image(
            target, ImageFile(compose(read_image(first).image, read_image(second).image, layout)), overwrite=overwrite
        )
        write(target)
        return

    from cli.jobs.progress import Teller
    from osediff_video.plain_resize import PlainResize
    from osediff_video.plan import plan_opened
    from osediff_video.run import carry_out
    from osediff_video.sources.comparison import open_comparison

    check_target([first, second], target, overwrite)
    teller = Teller(second)
    plan = plan_opened(
        open_comparison(first, second, layout), second, target, 1.0, how, sources=(first, second), overwrite=overwrite
    )
    teller.done(carry_out(plan, PlainResize(), progress=teller.progress))
