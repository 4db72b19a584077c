"""Run every video of some folders through the whole chain, with a plain resize for the model. One JSON line each.

python -m benchmarks.media_table FOLDER... [--suffix .mkv] [--frames-scale 1]

outcome: what a user would see. streams: kept, converted and dropped. Times in milliseconds.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from image_core.errors import OseDiffError
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import VideoPlan
from osediff_video.run import upscale_video
from osediff_video.suffixes import CONTAINERS


def row(source: Path, target: Path, scale: float) -> dict[str, object]:
    plans: list[VideoPlan] = []
    started = time.perf_counter()
    try:
        result = upscale_video(
            source, target, PlainResize(scale), Encoding(preset=None), VideoOptions(), planned=plans.append
        )
    except OseDiffError as error:
        return {"outcome": "refused", "message": str(error).replace(str(source.parent) + "/", "")}
    plan, check = plans[0], result.verification
    actions = [stream.action for stream in plan.streams]
    color = plan.encoder.color
    seen = probe(target).color if plan.is_video else color
    line: dict[str, object] = {
        "outcome": "done"
        if result.complete and (check is None or check.ok)
        else "incomplete"
        if check is None or check.ok
        else "WRONG",
        "frames": result.frames,
        "largest_time_error_ms": None if check is None else round(float(check.largest_error_s) * 1000, 3),
        "sound_error_ms": None
        if check is None or check.sound_error_s is None
        else round(float(check.sound_error_s) * 1000, 3),
        "shift_ms": None if check is None else round(float(check.shift_s) * 1000, 1),
        "kept": actions.count("copy") + actions.count("attach"),
        "converted": actions.count("convert"),
        "dropped": [str(stream) for stream in plan.streams if stream.action == "drop"],
        "color": [color.matrix, color.primaries, color.transfer, "full" if color.full_range else "limited"],
        "color_kept": [seen.matrix, seen.full_range] == [color.matrix, color.full_range],
        "depth": plan.info.bit_depth,
        "encoder": f"{plan.encoder.codec} {plan.encoder.pix_fmt}",
        "damage": str(result.faults),
        "seconds": round(time.perf_counter() - started, 1),
    }
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--suffix", help="write this kind of file  [default: the source's, else .mkv]")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(path for root in arguments.folders for path in root.iterdir()):
            own = source.suffix.lower() if source.suffix.lower() in CONTAINERS else ".mkv"
            target = Path(folder) / f"result{arguments.suffix or own}"
            line = {"file": source.name, **row(source, target, arguments.scale)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            left = [path.name for path in Path(folder).iterdir() if path != target]
            assert not left or line["outcome"] != "refused", left
            target.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
