"""Run workers on a Ray cluster, of this machine alone or of many. All of Ray is in this file."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from image_core.errors import OutputError
from image_core.models.catalogue import EMBEDDED, find_model
from image_core.storage.files import sha256
from osediff_video.farm.options import CORES_EACH, FarmOptions, check_address
from osediff_video.farm.program import identify_program
from osediff_video.farm.worker import CHUNK_BYTES, ModelChoice, Worker

STORE_BYTES = 200 << 20
AHEAD = 2
"""Chunks of a file that a worker holds ready: memory on the way is bounded by workers x AHEAD x CHUNK_BYTES."""

CHUNK_S = 60.0
"""How long a worker may take to accept a chunk that is shipped to it."""

MOST_DEATHS = 3
"""Workers that die on a machine one after another before any has done anything."""


@dataclass
class Member:
    """Hold a worker of the crew. node: name and id of its machine. state: "starting", "loading", "idle" or "busy"."""

    name: str
    node: str
    actor: Any
    pending: Any
    state: str = "starting"
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Report what a worker did.

    kind: "ready" with what computes there, "unfit" with why it cannot work, "news" with what it says of its work,
    "done" with what a call returned, "failed" with an error, "lost" with the reason.
    """

    member: Member
    kind: str
    value: Any = None


class Crew:
    """Hold workers as a context; they end with it. Raises OutputError when there is no cluster.

    place: folder for scratch on every machine; None is the system's.
    """

    def __init__(self, choice: ModelChoice, settings: FarmOptions, place: str | None = None) -> None:
        self.choice, self.settings, self.place = choice, settings, place
        self.members: list[Member] = []
        self.ids: dict[str, str] = {}  # Ray's, of each machine
        self.started = 0
        self.deaths: Counter[str] = Counter()
        self.bundle: dict[str, Path] = {}
        self.model: str | None = None
        self.on_terminate: Any = None

    def __enter__(self) -> Self:
        if ray.is_initialized():
            raise OutputError("this program has already connected to a Ray cluster; end that first (ray.shutdown())")
        bundle = find_model(self.choice.model)  # said before a cluster is asked
        if self.settings.cluster is not None and EMBEDDED not in bundle.path.parents:
            self.bundle = {name: bundle.path / name for name in (*bundle.config.files, "bundle.json")}
            self.model = sha256(self.bundle["bundle.json"])
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
        try:
            if self.settings.cluster is not None:
                check_address(self.settings.cluster, self.settings.public)
                with unsaid():
                    ray.init(address=self.settings.cluster, **quiet)
            else:
                store = max(STORE_BYTES, 2 * (self.settings.workers or 1) * AHEAD * CHUNK_BYTES)
                ray.init(
                    num_cpus=self.settings.workers,
                    include_dashboard=False,
                    object_store_memory=store,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
        except (ConnectionError, RuntimeError, ValueError, RayError, TimeoutError) as error:
            where = "this machine" if self.settings.cluster is None else self.settings.cluster
            raise OutputError(
                f"no Ray cluster on {where}: {' '.join(str(error).split())}; its nodes and this command need the same "
                "version of Ray and, where RAY_AUTH_MODE is token, the same RAY_AUTH_TOKEN"
            ) from error
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler would end this process before its workers are told
            self.on_terminate = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            with contextlib.suppress(RayError):
                if member.state in ("idle", "busy") and kind is None:
                    ray.get(member.actor.close.remote(), timeout=1 if member.state == "idle" else 0.1)
        for member in self.members:
            with contextlib.suppress(RayError):
                ray.kill(member.actor)
        ray.shutdown()
        if self.on_terminate is not None:
            signal.signal(signal.SIGTERM, self.on_terminate)

    def grow(self, closed: Container[str] = ()) -> None:
        """Start as many workers as there is room for: at first, after one was lost, and when a machine joins.

        closed: machines that get none. Raises OutputError where the workers of all others die.
        """
        room, gpus = self.room()
        dying = {node for node in room if self.deaths[node] >= MOST_DEATHS}
        works = any(member.node not in closed for member in self.members)
        if dying and not works and all(node in dying or node in closed for node in room):
            raise OutputError(
                f"workers die one after another on {', '.join(sorted(dying))}; finished segments are kept"
            )
        here = Counter(member.node for member in self.members)
        remote = ray.remote(OnNode)
        while len(self.members) < (self.settings.workers or sum(room.values())):
            free = [node for node in room if here[node] < room[node] and node not in dying and node not in closed]
            if not free:
                return
            node = min(free, key=lambda one: here[one])
            here[node] += 1
            self.started += 1
            actor = remote.options(
                num_cpus=self.cores(gpus > 0),
                num_gpus=gpus,
                scheduling_strategy=NodeAffinitySchedulingStrategy(self.ids[node], soft=False),
                max_restarts=0,
                max_concurrency=1,
            ).remote(self.choice, self.place)
            self.members.append(Member(f"worker {self.started}", node, actor, actor.greet.remote(self.model)))

    def room(self) -> tuple[dict[str, int], float]:
        """Return how many workers each machine has room for, and how much of a GPU each worker gets."""
        alive = {f"{one['NodeManagerHostname']} {one['NodeID'][:8]}": one for one in ray.nodes() if one["Alive"]}
        self.ids = {name: one["NodeID"] for name, one in alive.items()}
        gpus = {name: int(one["Resources"].get("GPU", 0)) for name, one in alive.items()}
        uses_gpu = any(gpus.values()) and self.choice.device.startswith(("auto", "cuda"))
        if self.settings.cluster is None:
            workers = self.settings.workers or 1
            return dict.fromkeys(alive, workers), min(1.0, sum(gpus.values()) / workers) if uses_gpu else 0.0
        cores = self.cores(uses_gpu)
        cpus = {name: int(one["Resources"].get("CPU", 0) // cores) for name, one in alive.items()}
        return {name: count for name, count in (gpus if uses_gpu else cpus).items() if count}, float(uses_gpu)

    def cores(self, uses_gpu: bool) -> int:
        """Return how many cores of its machine are counted as a worker's."""
        return 1 if uses_gpu or self.settings.cluster is None else self.settings.cores or CORES_EACH

    def events(self, patience_s: float) -> Iterator[Event]:
        """Yield what happened within `patience_s` seconds."""
        pending = {member.pending: member for member in self.members if member.pending is not None}
        if not pending:
            time.sleep(patience_s)
            return
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=patience_s)
        if ready:
            ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        for reference in ready:
            yield from self._event(pending[reference])

    def call(self, member: Member, method: str, *arguments: Any) -> None:
        """Let an idle worker call a method; what it returns comes as an event."""
        member.state, member.pending = "busy", getattr(member.actor, method).remote(*arguments)

    def make(self, member: Member, *arguments: Any) -> None:
        """Let an idle worker make a segment; what it yields comes as news."""
        stream = {"num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
        member.state, member.pending = "busy", member.actor.make.options(**stream).remote(*arguments)

    def shared(self, value: Any) -> Any:
        """Return a value as an argument that is sent to each machine once. Raises OutputError."""
        try:
            return ray.put(value)
        except RayError as error:
            raise OutputError(f"Ray cannot hold the plan of a video on this machine: {reason(error)}") from error

    def supply(self, member: Member, files: Mapping[str, Path]) -> None:
        """Ship files that are not on a worker's machine. files: by digest. Raises OutputError."""
        try:
            for digest in ray.get(member.actor.lacks.remote(list(files)), timeout=CHUNK_S):
                size, offset = files[digest].stat().st_size, 0
                with files[digest].open("rb") as stream:
                    while True:
                        chunk = stream.read(CHUNK_BYTES)
                        last = offset + len(chunk) >= size
                        ray.get(member.actor.take.remote(digest, offset, chunk, last), timeout=CHUNK_S)
                        offset += len(chunk)
                        if last:
                            break
        except (RayError, OSError) as error:
            raise OutputError(f"{member.node}: shipping files failed ({reason(error)})") from error

    def dismiss(self, member: Member) -> None:
        """End a worker."""
        if member in self.members:
            self.members.remove(member)
        with contextlib.suppress(RayError):
            ray.kill(member.actor)

    def _event(self, member: Member) -> Iterator[Event]:
        try:
            if isinstance(member.pending, ray.ObjectRefGenerator):
                try:
                    item = ray.get(next(member.pending))
                except StopIteration:
                    member.state, member.pending = "idle", None
                    yield Event(member, "done")
                    return
                self.deaths[member.node] = 0
                yield Event(member, "news", item)
                return
            value = ray.get(member.pending)
            if member.state == "starting":
                program, has_model = value
                if program != (here := identify_program()) and not self.settings.mixed:
                    member.state, member.pending = "idle", None
                    wrong = f"this program is {program} there, {here} here (--allow-mixed uses it)"
                    yield Event(member, "unfit", wrong)
                else:
                    self._load(member, has_model)
            elif member.state == "loading":
                member.state, member.pending, member.facts = "idle", None, value
                yield Event(member, "ready", value)
            else:
                member.state, member.pending = "idle", None
                self.deaths[member.node] = 0
                yield Event(member, "done", value)
        except RayTaskError as error:
            kind = "failed" if member.state == "busy" else "unfit"
            member.state, member.pending = "idle", None  # one that is unfit stays, or would come again
            yield Event(member, kind, reason(error))
        except (RayError, OutputError) as error:
            self.dismiss(member)
            self.deaths[member.node] += 1
            ends = "; no more workers begin there" if self.deaths[member.node] >= MOST_DEATHS else ""
            yield Event(member, "lost", reason(error) + ends)

    def _load(self, member: Member, has_model: bool) -> None:
        """Let a worker load the model, which is shipped where it is not there."""
        shipped = None
        if not has_model:
            shipped = {name: sha256(path) for name, path in self.bundle.items()}
            self.supply(member, {digest: self.bundle[name] for name, digest in shipped.items()})
        member.state, member.pending = "loading", member.actor.load.remote(shipped)


@contextlib.contextmanager
def unsaid() -> Iterator[None]:
    """Drop what libraries in C++ write to standard error: of a cluster that refuses, one line says enough."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class OnNode(Worker):
    """Work on a machine of a cluster."""

    def greet(self, model: str | None) -> tuple[str, bool]:
        """Return which program this machine has, and whether the model lies here too. model: as in `has_model`."""
        return identify_program(), model is None or self.has_model(model)


def reason(error: BaseException) -> str:
    """Return in one line why something failed: what was raised where it happened, or what Ray says of it."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        error = error.cause
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = isinstance(error, RayActorError | RayTaskError)  # after fields or a traceback
    return lines[-1 if last else 0] if lines else type(error).__name__
