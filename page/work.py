"""Carry out a request by the public API, and say in lines how it ended."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from osediff_video import Progress, Result, Upscaler, load_upscaler, upscale, upscale_image
from page.request import Request


@dataclass(frozen=True)
class Outcome:
    """Hold how a request ended. ok: it was finished and verified. lines: what happened, in sentences."""

    ok: bool
    lines: tuple[str, ...]


Work = Callable[[Request, Callable[[Progress], None]], Outcome]


def carry_out(request: Request, progress: Callable[[Progress], None], model: str | Upscaler | None = None) -> Outcome:
    """Upscale what is asked for. Raises OseDiffError, and what `progress` raises.

    model: in place of the request's own.
    """
    told: list[str] = []
    model = model or request.model
    if request.is_image:
        return carry_out_image(request, progress, model, told)
    result = upscale(
        request.source,
        request.target,
        model=model,
        progress=progress,
        options=None if isinstance(model, Upscaler) else request.image_options(),
        video=request.video_options(),
        encoding=request.encoding(),
        report=lambda sentence: told.append(shortened(sentence)),
    )
    return outcome_of(result, told)


def carry_out_image(
    request: Request, progress: Callable[[Progress], None], model: str | Upscaler, told: list[str]
) -> Outcome:
    """Upscale one image; its progress is counted in hundredths. Raises OseDiffError."""
    started = time.monotonic()
    upscaler = (
        model
        if isinstance(model, Upscaler)
        else load_upscaler(model, request.image_options(), report=lambda line: told.append(shortened(line)))
    )
    upscaler.progress = lambda share: progress(Progress(round(100 * share), 100, time.monotonic() - started))
    size = None if request.scale else request.size
    upscale_image(request.source, request.target, model=upscaler, size=size, report=told.append)
    return Outcome(True, (f"finished in {time.monotonic() - started:.1f} s", *told))


def shortened(sentence: str) -> str:
    """Return which model ran, without what its card says of it; any other sentence as it is."""
    return sentence.partition(". ")[0] if sentence.startswith("model: ") else sentence


def outcome_of(result: Result, told: list[str]) -> Outcome:
    """Return the outcome of a job in words."""
    check = result.verification
    lines = ["finished by an earlier run" if result.already_finished else f"{result.frames} frames"]
    if not result.already_finished:
        lines[0] += f", {result.frames - result.resumed} of them made in {result.elapsed_s:.1f} s"
    lines += [str(check)] if check else []
    lines += [f"damage: {result.faults}"] if result.faults else []
    return Outcome(result.complete and (check is None or check.ok), (*lines, *result.notes, *told))
