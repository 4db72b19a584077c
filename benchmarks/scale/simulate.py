"""Simulate how an archive is shared by many workers: `python -m benchmarks.scale.simulate [--hours 10000]`.

Events, not formulas: every segment goes to the next idle worker, longest first; files come back through one driver;
storage is shared; workers differ in speed, some are slow, and all are taken away now and then. Prints one JSON line for
each case, and with --figure FILE draws them.
"""

import argparse
import heapq
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

SEGMENT_S = 4.0


@dataclass(frozen=True)
class Case:
    """Hold what is assumed. Times in seconds, sizes in megabytes.

    segment_s: of a worker for a segment. spread: standard deviation of its logarithm. warmup: share that a segment
    made alone takes longer. overhead_s: of each segment beside. driver_s: of the driver for each segment. in_mb,
    out_mb: of a segment. storage_mb_s: of the storage, for all. slow_share, slow_factor: of workers.
    preempted_every_s: of each worker, on average; back_s: until another has taken its place and loaded the model.
    price: of a worker's hour.
    """

    workers: int = 100
    hours: float = 10_000.0
    segment_s: float = 25.0
    spread: float = 0.15
    warmup: float = 0.08
    overhead_s: float = 0.1
    driver_s: float = 0.03
    in_mb: float = 4.0
    out_mb: float = 16.0
    storage_mb_s: float = 2_000.0
    slow_share: float = 0.01
    slow_factor: float = 3.0
    preempted_every_s: float = 6 * 3600.0
    back_s: float = 180.0
    price: float = 2.0


def simulate(case: Case, seed: int = 0) -> dict[str, Any]:
    """Return how long it takes and what limits it."""
    draw = random.Random(seed)
    segments = round(case.hours * 3600 / SEGMENT_S)
    speeds = [case.slow_factor if draw.random() < case.slow_share else 1.0 for _ in range(case.workers)]
    storage_s = (case.in_mb + case.out_mb) / (case.storage_mb_s / case.workers)  # a fair share, when all read and write
    alone_s = case.segment_s * (1 + case.warmup) + case.overhead_s
    taken_away = [draw.expovariate(1 / case.preempted_every_s) for _ in range(case.workers)]
    handed, lost, driver_free, last_handed = 0, 0, 0.0, 0.0
    busy: list[tuple[float, int, bool]] = []  # when a worker is through, which one, and whether a segment came of it

    def begin(number: int, now: float) -> tuple[float, int, bool]:
        needs = alone_s * speeds[number] * draw.lognormvariate(-(case.spread**2) / 2, case.spread)
        ready = now + max(needs, storage_s)
        if ready <= taken_away[number]:
            return ready, number, True
        back = taken_away[number] + case.back_s
        taken_away[number] = back + draw.expovariate(1 / case.preempted_every_s)
        return back, number, False

    for number in range(min(case.workers, segments)):
        busy.append(begin(number, 0.0))
        handed += 1
    heapq.heapify(busy)
    while busy:
        now, number, came = busy[0]
        if came:
            driver_free = now = max(driver_free, now) + case.driver_s
        else:
            lost += 1
            handed -= 1
        if handed < segments:
            handed, last_handed = handed + 1, now
            heapq.heapreplace(busy, begin(number, now))
        else:
            heapq.heappop(busy)
    end = driver_free
    ideal_s = segments * case.segment_s / case.workers
    return {
        "workers": case.workers,
        "hours": case.hours,
        "takes_h": round(end / 3600, 2),
        "ideal_h": round(ideal_s / 3600, 2),
        "efficiency": round(ideal_s / end, 4),
        "tail_s": round(end - last_handed, 1),
        "lost_segments": lost,
        "driver_load": round(segments * case.driver_s / end, 4),
        "storage_load": round(segments * (case.in_mb + case.out_mb) / case.storage_mb_s / end, 4),
        "cost_per_hour": round(end / 3600 * case.workers * case.price / case.hours, 2),
    }


def cases(hours: float) -> list[tuple[str, Case]]:
    """Return the cases by name: three farms, and the largest with each thing that limits it changed."""
    most = Case(workers=1000, hours=min(hours, 1000.0))
    return [
        *((f"{workers} workers", Case(workers=workers, hours=hours)) for workers in (10, 100, 1000)),
        ("1000, no driver in the way (--segments)", replace(most, driver_s=0.0)),
        ("1000, driver 3 times as slow", replace(most, driver_s=0.09)),
        ("1000, storage of 500 MB/s", replace(most, storage_mb_s=500.0)),
        ("1000, taken away every 30 min", replace(most, preempted_every_s=1800.0)),
        ("1000, one in ten is slow", replace(most, slow_share=0.1)),
        ("1000, segments take 5 s", replace(most, segment_s=5.0)),
    ]


def draw_figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw efficiency and the loads of driver and storage, a row for each case."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5))
    for offset, (key, label) in enumerate(
        (("efficiency", "efficiency"), ("driver_load", "load of the driver"), ("storage_load", "load of the storage"))
    ):
        axes.barh([y - 0.27 * (1 - offset) for y in range(len(rows))], [row[key] for row in rows], 0.25, label=label)
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.05)
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=3, frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=10_000.0)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name, case in cases(arguments.hours):
        rows.append({"case": name, **simulate(case)})
        print(json.dumps(rows[-1]), flush=True)
    if arguments.figure:
        draw_figure(rows, arguments.figure)


if __name__ == "__main__":
    main()
