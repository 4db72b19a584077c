"""Define the command `osediff-video probe`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.help import OUTPUT, command, option
from cli.jobs.sources import video_target
from cli.model_options import image_options, model_options, size_options
from cli.printing import write
from cli.video_options import (
    check_named_files,
    encoding,
    range_options,
    reading_options,
    strict_option,
    video_options,
    writing_options,
)

if TYPE_CHECKING:
    from osediff_video.plan import VideoPlan


@command()
@click.argument("source", type=click.Path(path_type=Path))
@option(
    OUTPUT, "-o", "--output", type=click.Path(path_type=Path), help="Target to plan for.  [default: as for upscale]"
)
@strict_option
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@size_options
@range_options
@model_options
@reading_options
@writing_options
def probe(
    source: Path,
    output: Path | None,
    as_json: bool,
    model: str,
    device: str,
    precision: Any,
    engine: Any,
    **values: Any,
) -> None:
    """Inspect SOURCE and show what `upscale` with the same options would do with it. Nothing is written."""
    images, options, how = image_options(values, model), video_options(values), encoding(values)
    target = video_target(source, output, options.size or f"x{images.scale:g}", False)
    check_named_files(options)

    from cli.jobs.progress import plan_facts
    from image_core.models.choice import choose_model
    from osediff_video.plan import plan_video

    choice = choose_model(model, device, precision, engine=engine, fast=images.fast)
    plan = plan_video(source, target, images.scale, how, options)
    tiny = choice.bundle.chosen_tiny_decoder(images.tiny_decoder)
    chosen = f"{choice} It decodes by the AutoencoderTiny in {tiny}." if tiny else str(choice)
    if as_json:
        click.echo(json.dumps(plan_facts(plan) | {"model": chosen}, indent=1))
    else:
        for name, value in rows(plan).items():
            write(f"{name:10} {value}")
        write(f"{'model':10} {chosen.removeprefix('model: ')}")
        for stream in plan.streams:
            where = f"stream {stream.index}" if stream.index >= 0 else "video"
            write(f"{where:10} {stream.kind} {stream.codec}".rstrip() + f" {stream.fate}")
        for note in plan.notes:
            write(f"{'note':10} {note}")


def rows(plan: "VideoPlan") -> dict[str, str]:
    """Return the facts of the plan in words."""
    info, color = plan.info, plan.info.color
    return {
        "size": f"{info.width} x {info.height}, pixel aspect {info.sample_aspect_ratio}",
        "frames": f"about {info.frame_count_estimate}" if info.frame_count_estimate else "unknown before decoding",
        "duration": f"{info.duration_s:.3f} s" if info.duration_s else "unknown",
        "begins": f"at {float(info.begins_s):.3f} s of the file's clock; --start and --end count from there",
        "rate": f"{info.frame_rate} per second (a hint; timestamps are kept as they are)",
        "time base": f"{info.time_base} s",
        "samples": f"{info.codec} {info.pix_fmt}, {info.bit_depth} bit{', with transparency' if info.alpha else ''}",
        "colour": f"matrix {color.matrix}{' (guessed from the size)' if color.guessed else ''}, primaries "
        f"{color.primaries}, transfer {color.transfer}, {'full' if color.full_range else 'limited'} range",
        "output": f"{plan.target} {plan.width} x {plan.height}, {plan.encoder.codec} {plan.encoder.pix_fmt}",
    }
