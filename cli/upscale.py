"""`osediff-video upscale`"""

import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.model import build_upscaler, model_options, say
from image_core.errors import OseDiffError
from osediff_video.encoding import Encoding

if TYPE_CHECKING:
    from osediff_video.upscale import Progress, Result

WRITABLE = {".mp4", ".m4v", ".mov", ".mkv", ".webm"}
"""Endings that a result keeps; any other film becomes .mkv, which holds everything."""


class FrameRate(click.ParamType):
    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        try:
            rate = Fraction(value)
        except (ValueError, ZeroDivisionError):
            rate = Fraction(0)
        if not 0 < rate <= 1000:
            self.fail(f"expected a rate such as 25 or 30000/1001, got {value!r}", param, ctx)
        return rate


class EncoderOption(click.ParamType):
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        key, equals, setting = str(value).partition("=")
        if not key or not equals:
            self.fail(f"expected key=value, got {value!r}", param, ctx)
        return key, setting


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File or folder to write.  [default: beside SOURCE]"
)
@model_options
@click.option("--fps", type=FrameRate(), default="25", show_default=True, help="Frame rate of a folder of frames.")
@click.option("--codec", help="Video encoder, by FFmpeg's name.  [default: libx264; libvpx-vp9 for .webm]")
@click.option("--crf", type=float, help="Quality of the encoder; lower is better.  [default: visually lossless]")
@click.option("--preset", help="Speed of the encoder, in its own words.")
@click.option("--pix-fmt", help="Pixel format.  [default: as deep as the source]")
@click.option("--encoder-option", "encoder_options", multiple=True, type=EncoderOption(), help="More for the encoder.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
def upscale(
    sources: tuple[Path, ...],
    output: Path | None,
    fps: Fraction,
    codec: str | None,
    crf: float | None,
    preset: str | None,
    pix_fmt: str | None,
    encoder_options: tuple[tuple[str, str], ...],
    overwrite: bool,
    **model: Any,
) -> None:
    """Make every SOURCE, a film or a folder of frames, sharper and larger.

    The output keeps every frame, every timestamp and all sound: in.mp4 becomes in_x4.mp4, a folder of frames becomes a
    folder of PNG frames (or a film, if OUTPUT ends in .mp4, .mov, .mkv or .webm).
    """
    encoding = Encoding(codec, crf, preset, pix_fmt, dict(encoder_options))
    if len(sources) > 1 and output is not None and output.suffix.lower() in WRITABLE:
        raise click.UsageError(f"several sources need a folder as output, got {output}")

    from osediff_video.media.target import check_target
    from osediff_video.upscale import upscale_video

    targets = [target_for(source, output, model["scale"], len(sources) > 1) for source in sources]
    for source, target in zip(sources, targets, strict=True):
        check_target(source, target, overwrite)
    upscaler = build_upscaler(**model)
    failed = 0
    for source, target in zip(sources, targets, strict=True):
        with ProgressLine(source.name) as line:
            try:
                result = upscale_video(source, target, upscaler, encoding, fps=fps, progress=line.show)
            except OseDiffError as error:
                if len(sources) == 1:
                    raise
                failed += 1
                line.end()
                say(f"{source}: {error}")
                continue
        failed += not report(result)
    if failed:
        raise SystemExit(1)


def target_for(source: Path, output: Path | None, scale: float, several: bool) -> Path:
    """Where the result of `source` goes: `output` itself, a file of its name inside it, or beside the source."""
    suffix = "" if source.is_dir() else source.suffix.lower() if source.suffix.lower() in WRITABLE else ".mkv"
    name = f"{source.resolve().name if source.is_dir() else source.stem}_x{scale:g}{suffix}"
    if output is None:
        return source.resolve().parent / name
    if several or (output.is_dir() and not source.is_dir()):
        return output / name
    return output


def report(result: "Result") -> bool:
    """Print what came out; whether it is as it should be."""
    for note in result.notes:
        say(f"note: {note}")
    rate = result.frames / result.elapsed_s
    say(f"{result.target}: {result.frames} frames in {result.elapsed_s:.1f} s ({rate:.2f} fps)")
    check = result.verification
    if check is None:
        return True
    say(str(check))
    return check.ok


class ProgressLine:
    """One line that rewrites itself on a terminal; a line every ten seconds elsewhere."""

    def __init__(self, name: str) -> None:
        import psutil
        from rich.console import Console

        self.name, self.process = name, psutil.Process()
        self.console, self.last = Console(stderr=True), 0.0

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def show(self, progress: "Progress") -> None:
        now, live = time.monotonic(), self.console.is_terminal
        if now - self.last < (0.2 if live else 10) and self.last:
            return
        self.last = now
        self.console.print(self.words(progress), end="\r" if live else "\n", highlight=False, no_wrap=True)

    def words(self, progress: "Progress") -> str:
        total = f" of {progress.total} ({progress.frames / progress.total:.0%})" if progress.total else ""
        eta = f", {int(progress.eta_s) // 60}:{int(progress.eta_s) % 60:02d} left" if progress.eta_s is not None else ""
        memory = self.process.memory_info().rss / 2**20
        return f"{self.name}: frame {progress.frames}{total}, {progress.fps:.2f} fps{eta}, {memory:.0f} MB"

    def end(self) -> None:
        if self.last and self.console.is_terminal:
            self.console.print()
