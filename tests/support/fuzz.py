"""Mutate small videos and run each through the whole chain in a child process: success or one clear error, always.

python -m tests.support.fuzz [--count 2000] [--seed 0] [--folder VIDEOS]

Every child ends within its time, without a signal or a traceback, and leaves nothing but a finished target or a job
that can go on. Prints one JSON line with the count of each outcome; exit code 1 when any child misbehaved.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

CHILD = """
import sys
from pathlib import Path
from image_core.errors import OseDiffError
from osediff_video.encoding import Encoding
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
for line in sys.stdin:
    source, target = map(Path, line.rstrip("\\n").split("\\t"))
    try:
        encoding, options = Encoding(preset="ultrafast"), VideoOptions(temporal="off")
        result = upscale_video(source, target, PlainResize(), encoding, options)
        check = result.verification
        word = "done" if result.complete and (check is None or check.ok) else "incomplete"
        if check is not None and not check.ok:
            word = "WRONG " + str(check)
    except OseDiffError as error:
        word = "refused " + str(error).replace("\\n", " ")
    print(word, flush=True)
"""
LIMIT_S = 60.0
SUFFIXES = (".mp4", ".mkv", ".mov", ".webm", ".ts", ".avi", ".flv", ".gif", ".mpg", ".png", ".webp", ".3gp", ".ps")


def seeds(folder: Path) -> list[Path]:
    """Small videos of several formats, encoded here."""
    from tests.support.media_files import write_video
    from tests.support.rich_video import write_rich

    times = [40 * n for n in range(8)]
    base = Fraction(1, 1000)
    return [
        write_rich(folder / "rich.mkv", frames=8),
        write_video(folder / "plain.mp4", [512 * n for n in range(8)], sound_from=Fraction(0)),
        write_video(folder / "hevc.mp4", [512 * n for n in range(8)], codec="libx265", options={"preset": "ultrafast"}),
        write_video(folder / "uneven.mov", [0, 300, 1700, 1701, 4000], sound_from=Fraction(1, 3)),
        write_video(folder / "stream.ts", [3600 * n for n in range(8)], time_base=Fraction(1, 90000)),
        write_video(
            folder / "vp9.webm",
            times,
            time_base=base,
            codec="libvpx-vp9",
            options={"cpu-used": "8", "deadline": "realtime"},
        ),
        write_video(
            folder / "motion.avi", list(range(8)), time_base=Fraction(1, 25), codec="mjpeg", pix_fmt="yuvj420p"
        ),
        write_video(folder / "lossless.mkv", times, time_base=base, codec="ffv1"),
    ]


def mutate(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """Flip bits, cut, overwrite, or splice with another file."""
    changed = bytearray(data)
    kind = draw.choice(("flip", "flip", "flip", "cut", "zero", "noise", "splice", "repeat", "remove"))
    if kind == "flip":
        for _ in range(draw.choice((1, 4, 16, 64, 256))):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del changed[draw.randrange(len(changed)) :]
    elif kind in ("zero", "noise", "remove"):
        start = draw.randrange(len(changed))
        end = min(len(changed), start + draw.choice((4, 32, 256, 2048)))
        fill = {"zero": bytes(end - start), "noise": draw.randbytes(end - start), "remove": b""}[kind]
        changed[start:end] = fill
    elif kind == "splice":
        changed[draw.randrange(len(changed)) :] = other[draw.randrange(len(other)) :]
    else:
        start = draw.randrange(len(changed))
        changed[start:start] = changed[start : start + 512]
    return bytes(changed)


class Child:
    """A process that copies one video a line; started anew when it fails."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent.parent,
        )

    def run(self, source: Path, target: Path) -> str:
        import selectors

        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{source}\t{target}\n")
        self.process.stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(LIMIT_S):
                return "HANGS"
        return self.process.stdout.readline().strip() or f"CRASHED {self.end()}"

    def end(self) -> str:
        self.process.kill()
        _, errors = self.process.communicate()
        return f"exit {self.process.returncode}: {errors[-600:]}"


def fuzz(videos: list[Path], count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Outcomes by kind, and a line for every video that was treated wrongly."""
    draw, outcomes, wrong = random.Random(seed), Counter[str](), list[str]()
    data = {video: video.read_bytes() for video in videos}
    child = Child()
    for number in range(count):
        video, other = draw.choice(videos), draw.choice(videos)
        source, target = folder / f"{number:05d}{video.suffix}", folder / f"{number:05d}_out.mkv"
        source.write_bytes(mutate(data[video], data[other], draw))
        word = child.run(source, target)
        kind = word.split()[0]
        left = [path.name for path in folder.iterdir() if path not in (source, target)]
        misbehaved = kind in ("HANGS", "CRASHED", "WRONG") or left or (kind == "refused" and target.exists())
        outcomes[kind] += 1
        if misbehaved:
            wrong.append(f"{number} {video.name}: {word} {left}")
            keep = folder.parent / "misbehaved"
            keep.mkdir(exist_ok=True)
            source.replace(keep / source.name)
            child.end()
            child = Child()
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    child.end()
    return outcomes, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, action="append", default=[], help="more videos to mutate, up to 300 kB each"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "videos").mkdir()
        (root / "work").mkdir()
        videos = seeds(root / "videos")
        videos += [
            path
            for folder in arguments.folder
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in SUFFIXES and 0 < path.stat().st_size < 300_000
        ]
        outcomes, wrong = fuzz(videos, arguments.count, arguments.seed, root / "work")
        sys.stdout.write(json.dumps({"videos": len(videos), "mutations": arguments.count, "outcomes": outcomes}) + "\n")
        for line in wrong:
            sys.stdout.write(line + "\n")
        misbehaved = root / "misbehaved"
        if misbehaved.exists():
            shutil.copytree(misbehaved, Path("fuzz_misbehaved"), dirs_exist_ok=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
