"""How long a lost machine holds the work up, and how much of Ray's memory segments take on their way.

`python -m benchmarks.scale.faults [--rounds 3]`: a head and two machines for one worker each, as processes on this
machine; one is killed in the middle of a segment, as when the power goes. Prints a JSON line for each round and one for
the memory, with the load of this machine, which makes times longer.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray._private.internal_api import node_stats

from image_core.options import UpscaleOptions
from osediff_video.encoding import Encoding
from osediff_video.farm.cluster import AHEAD, Crew, Event, Member
from osediff_video.farm.driver import Driver, Tell
from osediff_video.farm.film import plan_film
from osediff_video.farm.options import FarmOptions
from osediff_video.farm.worker import CHUNK_BYTES, ModelChoice
from osediff_video.options import VideoOptions
from tests.support.media_files import write_video
from tests.support.ray_nodes import ENVIRONMENT, STORE_BYTES, Nodes, cluster

SCALE = 2.0
SEGMENTS, FRAMES = 8, 25
SMALL, LARGE = (90, 160), (180, 320)


@dataclass
class Watch:
    """Note when each segment was begun, by which machine, and when its first frame was there."""

    begun: list[tuple[float, int, str]] = field(default_factory=list)
    first: list[tuple[float, int, str]] = field(default_factory=list)
    lost: list[tuple[float, str]] = field(default_factory=list)


class WatchedCrew(Crew):
    """Hold workers, and note what they do."""

    watch: Watch

    def make(self, member: Member, *arguments: Any) -> None:
        self.watch.begun.append((time.monotonic(), arguments[2], member.node))
        super().make(member, *arguments)

    def events(self, patience_s: float) -> Iterator[Event]:
        for event in super().events(patience_s):
            index = next((index for _, index, node in reversed(self.watch.begun) if node == event.member.node), None)
            if event.kind == "news" and isinstance(event.value, int) and index is not None and event.value > 0:
                if not any(known == (index, event.member.node) for _, *known in map(list, self.watch.first)):
                    self.watch.first.append((time.monotonic(), index, event.member.node))
            elif event.kind == "lost":
                self.watch.lost.append((time.monotonic(), event.member.node))
            yield event


def run(source: Path, target: Path, nodes: Nodes, scale: float, codec: str) -> tuple[Watch, list[str]]:
    """Upscale a video by a cluster. Return what happened when, and errors."""
    watch, errors = Watch(), []
    settings = FarmOptions(cluster=nodes.address, cores=1)
    choice = ModelChoice("lite", UpscaleOptions(scale=scale), "cpu", "auto", cores=1)
    options = VideoOptions(temporal="off")
    film = plan_film(source, target, scale, Encoding(codec), options, settings, restart=False, overwrite=False)
    with ExitStack() as held:
        driver = Driver([film], settings, Tell(failed=lambda _, error: errors.append(error)), held)
        crew = WatchedCrew(choice, settings)
        crew.watch = watch
        driver.run(held.enter_context(crew))
    return watch, errors


def recovery(nodes: Nodes, source: Path, folder: Path, name: str) -> dict[str, Any]:
    """Kill a machine in the middle of a segment; return how long it took until others had caught up."""
    killed: list[float] = []
    target = folder / f"{name}.mkv"

    def kill_when_busy() -> None:
        while not nodes.workers(name) or len(list(target.with_name(target.name + ".osediff").glob("0*.json"))) < 2:
            time.sleep(0.05)
        time.sleep(1)
        killed.append(time.monotonic())
        nodes.kill(name)

    thread = threading.Thread(target=kill_when_busy, daemon=True)
    thread.start()
    began = time.monotonic()
    watch, errors = run(source, target, nodes, SCALE, "libx264")
    took = time.monotonic() - began
    thread.join()
    at = killed[0]
    lost_at, node = next((time_s, node) for time_s, node in watch.lost if time_s > at)
    begun_at, index, _ = [one for one in watch.begun if one[2] == node and one[0] < at][-1]
    again_at = next((one[0] for one in watch.first if one[1] == index and one[0] > lost_at), None)
    other = next(one[0] for one in watch.begun if one[1] == index and one[0] > lost_at)
    return {
        "case": "a machine lost",
        "work_lost_s": round(at - begun_at, 2),
        "noticed_s": round(lost_at - at, 2),
        "begun_again_s": round(other - at, 2),
        "first_frame_again_s": None if again_at is None else round(again_at - at, 2),
        "run_s": round(took, 1),
        "errors": errors,
        "load": round(os.getloadavg()[0], 1),
    }


def store_peak(nodes: Nodes, source: Path, folder: Path) -> dict[str, Any]:
    """Return how much of Ray's memory segments took on their way, that were larger than it."""
    target, over = folder / "large.mkv", threading.Event()
    most: Counter[str] = Counter()
    sizes: list[int] = []

    def watch_store() -> None:
        while not over.wait(0.1):
            if not ray.is_initialized():
                continue
            for node in (one for one in ray.nodes() if one["Alive"]):
                stats = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"]).store_stats
                role = "of the workers" if node["Resources"].get("CPU") else "of the command"
                now = {
                    f"held {role}": stats.object_store_bytes_used,
                    f"pinned {role}": stats.object_store_bytes_primary_copy,
                    "written to disk": stats.spilled_bytes_total,
                }
                most.update({name: max(0, taken - most[name]) for name, taken in now.items()})
            sizes.extend(path.stat().st_size for path in target.with_name(target.name + ".osediff").glob("0*.mkv"))

    thread = threading.Thread(target=watch_store, daemon=True)
    thread.start()
    _, errors = run(source, target, nodes, 6.0, "ffv1")
    over.set()
    thread.join()
    return {
        "case": "memory for objects",
        "segment_mb": round(max(sizes, default=0) / 2**20, 1),
        "memory_mb": STORE_BYTES >> 20,
        "ahead_mb": AHEAD * CHUNK_BYTES >> 20,
        "most_mb": {name: round(taken / 2**20, 1) for name, taken in sorted(most.items())},
        "errors": errors,
        "load": round(os.getloadavg()[0], 1),
    }


def noise(path: Path, frames: int, step: int, size: tuple[int, int]) -> Path:
    """Write a video that compresses badly."""
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (*size, 3), np.uint8) for _ in range(25)]
    times = [step * number for number in range(frames)]
    return write_video(
        path,
        times,
        images=[images[number % 25] for number in range(frames)],
        size=size,
        sound_from=Fraction(0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if "RAY_AUTH_TOKEN" not in os.environ:  # Ray reads it when it is imported
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.scale.faults", *sys.argv[1:]], ENVIRONMENT)
    with tempfile.TemporaryDirectory() as name, cluster() as nodes:
        folder = Path(name)
        source = noise(folder / "in.mp4", SEGMENTS * FRAMES, 2048, SMALL)
        nodes.join("stays")
        for number in range(arguments.rounds):
            nodes.join(f"goes{number}")
            print(json.dumps(recovery(nodes, source, folder, f"goes{number}")), flush=True)
        large = noise(folder / "large.mp4", 100, 1024, LARGE)
        print(json.dumps(store_peak(nodes, large, folder)), flush=True)


if __name__ == "__main__":
    main()
