"""Let workers do what `osediff-video upscale` asks for, and tell of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.printing import say
from image_core.options import UpscaleOptions
from osediff_video.encoding import Encoding
from osediff_video.farm.options import FarmOptions
from osediff_video.options import VideoOptions

if TYPE_CHECKING:
    from osediff_video.run import Result


def by_workers(
    pairs: list[tuple[Path, Path]],
    images: UpscaleOptions,
    options: VideoOptions,
    how: Encoding,
    farm: FarmOptions,
    restart: bool,
    overwrite: bool,
    as_json: bool,
    on_done: list[str] | None,
    *,
    model: str,
    device: str,
    precision: Any,
    engine: Any,
) -> int:
    """Let workers upscale the videos; return how many failed. Raises OseDiffError where no worker can work."""
    from cli.jobs.progress import JsonTeller, Teller, is_well_done
    from osediff_video.farm.driver import Tell, upscale_batch
    from osediff_video.farm.worker import ModelChoice

    kind, failed = JsonTeller if as_json else Teller, []
    batch = kind(pairs[0][0] if len(pairs) == 1 else Path(f"{len(pairs)} videos"))
    tellers = {source: kind(source) for source, _ in pairs}

    def told(source: Path, result: "Result") -> None:
        batch.end()
        if not is_well_done(tellers[source], result, options.allow_damaged, on_done):
            failed.append(source)

    def refused(source: Path, message: str) -> None:
        batch.end()
        tellers[source].failed(message)
        failed.append(source)

    def noted(sentence: str) -> None:
        batch.end()
        batch.line(sentence)

    tell = Tell(lambda source, plan: tellers[source].planned(plan), batch.progress, told, refused, noted)
    choice = ModelChoice(model, images, device, precision, engine)
    try:
        upscale_batch(pairs, choice, how, options, farm, restart=restart, overwrite=overwrite, tell=tell)
    except KeyboardInterrupt:
        batch.end()
        say("stopped; finished segments are kept. Run the same command again to resume.")
        raise SystemExit(1) from None
    return len(failed)
