"""`osediff-video compare`"""

from pathlib import Path
from typing import Any

import click

from cli.video_options import encoding, writing_options
from osediff_video.options import LAYOUTS, Layout


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.  [default: beside SECOND]")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="side",
    show_default=True,
    help="Side by side, split by a line, or a line that wanders.",
)
@writing_options
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def compare(first: Path, second: Path, output: Path | None, layout: Layout, overwrite: bool, **values: Any) -> None:
    """Show FIRST and SECOND, two videos or two images, in one. Frames are paired in order; sound is SECOND's."""
    how = encoding(values)

    from osediff_video.sources.folder import SUFFIXES

    is_image = second.suffix.lower() in SUFFIXES and second.is_file()
    target = output or second.with_name(f"{first.stem}_vs_{second.stem}{'.png' if is_image else '.mp4'}")

    from osediff_video.media.target import check_target

    if is_image:
        from cli.image import check_image_target
        from osediff_video.image_file import ImageFile, read_image, write_image
        from osediff_video.sources.comparison import compose

        check_image_target(second, target, overwrite)
        write_image(target, ImageFile(compose(read_image(first).image, read_image(second).image, layout)))
        click.echo(target)
        return

    from cli.progress import Teller
    from osediff_video.plain_resize import PlainResize
    from osediff_video.plan import plan_opened
    from osediff_video.sources.comparison import open_comparison
    from osediff_video.upscale import carry_out

    check_target(second, target, overwrite)
    teller = Teller(second)
    plan = plan_opened(open_comparison(first, second, layout), second, target, 1.0, how)
    teller.done(carry_out(plan, PlainResize(), progress=teller.progress))
