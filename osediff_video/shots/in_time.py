"""Keep up with a live video: choose how each frame is made by the time that is left for it.

A frame is due as long after the one before it as their times say, yet not before it has come. It is written within a
given time of that, made in the best way that allows it: as asked, without the UNet where the model can do so, or
plainly resized. A way is left at once when a frame would be late, and taken up again after a second in which this
machine was quick enough for it. No frame is dropped, and none gets another time.
"""

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction

import cv2
import numpy as np

from image_core.device.transfer import upload
from image_core.drafts import Draft, Pending
from image_core.images import ImageArray
from image_core.upscaler import Size, Upscaler
from osediff_video.shots.treatment import Treatments
from osediff_video.stages.prefetch import ahead
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame

ASKED, FAST, RESIZED = 0, 1, 2
CALM_S = 1.0
"""How long a better way must have been possible before it is taken up."""

SPARE = 0.9
"""Share of the time of a frame that a way may take to be kept up."""

FORGETTING = 0.995
"""What a way was last seen to take loses by so much with each frame made in another: the machine may be free again."""

ROUNDS = 3
"""How often each way is timed at the beginning."""

Now = Callable[[], float]


@dataclass(frozen=True)
class InTime:
    """Report how a live video was kept up with.

    asked, fast, resized: frames made as asked, without the UNet, and plainly resized. changes: from one to another.
    latest_s: the longest time that a frame was written after it was due.
    """

    asked: int
    fast: int
    resized: int
    changes: int
    latest_s: float

    def __str__(self) -> str:
        made = [f"{self.asked} frames as asked"]
        made += [f"{self.fast} without the UNet"] if self.fast else []
        made += [f"{self.resized} plainly resized"] if self.resized else []
        return f"real time: {', '.join(made)}; {self.changes} changes, at most {self.latest_s:.2f} s late"


class Clock:
    """Tell when each frame of a live video is due, and how late it was."""

    def __init__(self, now: Now = time.monotonic) -> None:
        self.now, self.latest_s, self.behind_s = now, 0.0, 0.0
        self._due: dict[int, float] = {}
        self._drafted: dict[int, float] = {}

    def arriving(self, frames: Generator[Frame, None, None], time_base: Fraction) -> Generator[Frame, None, None]:
        """Yield the frames, and note when each is due."""
        before: tuple[float, float] | None = None
        with closing(frames):
            for position in itertools.count():
                asked, frame = self.now(), next(frames, None)
                if frame is None:
                    return
                came, at = self.now(), float(frame.pts * time_base)
                due = came if before is None else before[0] + max(0.0, at - before[1])
                # who asked in time and waited had no frame to make; who asked too late is behind, however long it took
                due = max(due, came) if asked <= due else due
                self._due[position], before = due, (due, at)
                yield frame

    def due(self, position: int) -> float:
        return self._due[position]

    def drafted(self, position: int) -> None:
        """Note that the model is done with a frame."""
        self._drafted[position] = self.now()

    def written(self, position: int) -> None:
        """Note that a frame has left."""
        now = self.now()
        self.latest_s = max(self.latest_s, now - self._due.pop(position))
        after = now - self._drafted.pop(position)
        self.behind_s = after if not position else 0.8 * self.behind_s + 0.2 * after


@dataclass
class Pace:
    """Choose the way in which each frame is made.

    latency_s: how long after it is due a frame may be written. workers: how many frames are made at once. costs:
    seconds that a worker takes for a frame, by the ways that there are.
    """

    latency_s: float
    workers: int
    costs: dict[int, float]
    interval_s: float
    way: int = ASKED
    made: dict[int, int] = field(default_factory=lambda: dict.fromkeys((ASKED, FAST, RESIZED), 0))
    changes: int = 0
    calm_since: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.way = min(way for way in self.costs if self.lasts(way))

    def choose(self, now: float, left_s: float, waiting: int) -> int:
        """Return the way for a frame. left_s: until its draft must be ready. waiting: frames that are being made."""
        with self.lock:
            way = min(way for way in self.costs if way >= self.way and self.fits(way, left_s, waiting))
            if way != self.way:
                self.calm_since = None
            else:
                better = [other for other in self.costs if other < way and self.lasts(other)]
                better = [other for other in better if self.fits(other, left_s, waiting)]
                self.calm_since = (self.calm_since or now) if better else None
                if self.calm_since is not None and now - self.calm_since >= CALM_S:
                    way, self.calm_since = min(better), None
            self.changes += bool(sum(self.made.values())) and way != self.way
            self.way = way
            self.made[way] += 1
            for other in self.costs:
                self.costs[other] *= FORGETTING if other < way else 1
        return way

    def fits(self, way: int, left_s: float, waiting: int) -> bool:
        """Tell whether a frame would be ready in time; a plain resize always is as good as any other."""
        return way == RESIZED or (waiting < self.room and self.costs[way] * self.turns(waiting) <= left_s)

    @property
    def room(self) -> int:
        """Return how many frames may be in the making; the upscaler lets nobody begin more."""
        return 2 * self.workers

    def lasts(self, way: int) -> bool:
        """Tell whether frames may go on to be made in this way."""
        return way == RESIZED or self.costs[way] / self.workers <= SPARE * self.interval_s

    def turns(self, waiting: int) -> float:
        """Return how many times the cost of one frame passes until the next is ready."""
        return 1 + max(0, waiting - self.workers + 1) / self.workers

    def missed(self, way: int) -> None:
        """Note that a frame that was begun in this way was resized in the end, and leave the way."""
        with self.lock:
            self.made[way] -= 1
            self.made[RESIZED] += 1
            self.changes += self.way != RESIZED
            self.way, self.calm_since = RESIZED, None

    def took(self, way: int, seconds: float, waiting: int) -> None:
        """Note how long a frame took from its beginning. waiting: what `choose` was told."""
        with self.lock:
            self.costs[way] = 0.8 * self.costs[way] + 0.2 * seconds / self.turns(waiting)


@dataclass(frozen=True)
class Made:
    """Hold a draft that needed no worker, as `Pending` does."""

    draft: Draft

    def is_done(self) -> bool:
        return True

    def result(self) -> Draft:
        return self.draft


class LiveWork:
    """Make the frames of a live video in time."""

    def __init__(
        self, treatments: Treatments, size: Size, shape: tuple[int, ...], rate: Fraction, latency_s: float
    ) -> None:
        """Measure first what each way takes here. shape: of the input's images. rate: of its frames, per second."""
        self.treatments, self.size, self.clock = treatments, size, Clock()
        usual = treatments.usual.upscaler
        ways = {ASKED: usual} | ({FAST: fast} if (fast := faster(usual)) else {})
        costs = {way: cost_of(upscaler, size, shape) for way, upscaler in ways.items()}
        self.pace = Pace(latency_s, max(1, usual.workers.count), {**costs, RESIZED: 0.0}, float(1 / rate))
        self._faster: dict[int, Upscaler] = {}

    def __call__(self, related: Iterable[Step]) -> Iterator[Step]:
        """Put a draft into every step, in order. Frames are begun as they come, whether or not one is ready.

        One that is not ready when it must be is resized after all.
        """
        before: int | None = None
        for step, pending, chosen in ahead(self.begun(related), self.pace.workers + 1):
            way, draft = chosen, self.ready(step, pending)
            if draft is None:
                self.pace.missed(way)
                way, draft = RESIZED, resized(step.frame.image, self.size, self.treatments.at(step.frame).upscaler)
            self.clock.drafted(step.position)
            # nothing of a softer frame is blended into a restored one
            yield replace(step, draft=draft, motion=None if RESIZED in (way, before) else step.motion)
            before = way

    def ready(self, step: Step, pending: "Pending | Made") -> Draft | None:
        """Wait for a draft for as long as there is time."""
        if isinstance(pending, Pending):
            wait([pending.future], max(0.0, self.left_s(step)))
        return pending.result() if pending.is_done() else None

    def left_s(self, step: Step) -> float:
        """Return the seconds until the draft of a step must be ready."""
        return self.clock.due(step.position) + self.pace.latency_s - self.clock.behind_s - self.clock.now()

    def begun(self, related: Iterable[Step]) -> Iterator[tuple[Step, Pending | Made, int]]:
        """Start each frame in the way that its time allows; one that equals the last is not made again."""
        held: list[Pending | Made] = []
        last: Pending | Made | None = None
        for step in related:
            held = [pending for pending in held if not pending.is_done()]
            if len(held) >= self.pace.room:  # one more would have to wait, for nobody knows how long
                futures = [pending.future for pending in held if isinstance(pending, Pending)]
                wait(futures, max(0.0, self.left_s(step)), FIRST_COMPLETED)
                held = [pending for pending in held if not pending.is_done()]
            waiting = len(held)
            way = self.pace.choose(self.clock.now(), self.left_s(step), waiting)
            if last is None or not step.same:
                last = self.begin(step, way, waiting)
                held.append(last)
            yield step, last, way

    def wants_motion(self) -> bool:
        """Tell whether frames are to be blended at present: a resized frame flickers no more than it did."""
        return self.pace.way != RESIZED

    def begin(self, step: Step, way: int, waiting: int) -> Pending | Made:
        upscaler = self.treatments.at(step.frame).upscaler
        if way == RESIZED:
            return Made(resized(step.frame.image, self.size, upscaler))
        if way == FAST:
            upscaler = self._faster.setdefault(id(upscaler), faster(upscaler) or upscaler)
        began = self.clock.now()
        embedding = None if upscaler.prompter is None else step.embedding
        pending = upscaler.begin(step.frame.image, self.size, step.tone, False, embedding)
        pending.future.add_done_callback(lambda _: self.pace.took(way, self.clock.now() - began, waiting))
        return pending

    def report(self) -> InTime:
        """Return what was done."""
        made = self.pace.made
        return InTime(made[ASKED], made[FAST], made[RESIZED], self.pace.changes, self.clock.latest_s)


def faster(upscaler: Upscaler) -> Upscaler | None:
    """Return the same model without its UNet; None where it is not of use without, or has been left out already."""
    options = upscaler.options
    if not upscaler.generator.autoencoder.decoder_sees_image or not options.runs_unet or options.guidance != 1:
        return None
    return upscaler.steered(replace(options, fast=True, strength=1.0, adaptive=False))


def cost_of(upscaler: Upscaler, size: Size, shape: tuple[int, ...]) -> float:
    """Return the least seconds that a worker takes for a frame while all of them work; the first round prepares.

    The least: what takes longer in the end is noticed at once, what takes less only after a while.
    """
    image, best = np.zeros(shape, np.uint8), float("inf")
    for turn in range(1 + ROUNDS):
        began = time.monotonic()
        pending = [upscaler.begin(image, size) for _ in range(max(1, upscaler.workers.count))]
        for one in pending:
            one.result()
        if turn:
            best = min(best, time.monotonic() - began)
    return best


def resized(image: ImageArray, size: Size, upscaler: Upscaler) -> Draft:
    """Return what stands in for the model's image, where the model's would lie."""
    large = cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
    if upscaler.device.type == "cpu":
        return Draft(large)
    return Draft(upload([large], upscaler.device)[0], source=upload([image], upscaler.device)[0])
