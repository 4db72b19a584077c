"""Run workers on a Ray cluster, of this machine alone or of many. All of Ray is in this file."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from image_core.errors import OutputError
from image_core.models.catalogue import EMBEDDED, find_model
from image_core.storage.files import sha256
from osediff_video.farm.options import CORES_EACH, FarmOptions, check_address
from osediff_video.farm.worker import CHUNK_BYTES, ModelChoice, Worker

STORE_BYTES = 200 << 20
AHEAD = 2
"""Chunks of a file that a worker holds ready: memory on the way is bounded by workers x AHEAD x CHUNK_BYTES."""

MOST_DEATHS = 5
"""Workers that die one after another before any has done anything."""


@dataclass
class Member:
    """Hold a worker of the crew. node: name and id of its machine. state: "starting", "loading", "idle" or "busy"."""

    name: str
    actor: Any
    pending: Any
    state: str = "starting"
    node: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Report what a worker did.

    kind: "ready" with what computes there, "news" with what it says of its work, "done" with what a call returned,
    "failed" with an error, "lost" with the reason.
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
        self.started = self.deaths = 0
        self.bundle: dict[str, Path] | None = None
        self.on_terminate: Any = None

    def __enter__(self) -> Self:
        if ray.is_initialized():
            raise OutputError("this program has already connected to a Ray cluster; end that first (ray.shutdown())")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
        try:
            if self.settings.cluster is None:
                store = max(STORE_BYTES, 2 * (self.settings.workers or 1) * AHEAD * CHUNK_BYTES)
                ray.init(
                    num_cpus=self.settings.workers,
                    include_dashboard=False,
                    object_store_memory=store,
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                check_address(self.settings.cluster, self.settings.public)
                ray.init(address=self.settings.cluster, **quiet)
        except (ConnectionError, RuntimeError, ValueError, RayError, TimeoutError) as error:
            where = "this machine" if self.settings.cluster is None else self.settings.cluster
            raise OutputError(
                f"no Ray cluster on {where}: {first_line(error)}; its nodes and this command need the same version of "
                "Ray and, where RAY_AUTH_MODE is token, the same RAY_AUTH_TOKEN"
            ) from error
        if threading.current_thread() is threading.main_thread():
            # Ray's own handler would end this process before its workers are told
            self.on_terminate = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        if self.settings.cluster is not None:
            bundle = find_model(self.choice.model)
            if EMBEDDED not in bundle.path.parents:
                names = [*bundle.config.files, "bundle.json"]
                self.bundle = {name: bundle.path / name for name in names}
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

    def grow(self) -> None:
        """Start as many workers as there is room for: at first, after one was lost, and when a machine joins."""
        total = ray.cluster_resources()
        uses_gpu = total.get("GPU", 0) >= 1 and self.choice.device.startswith(("auto", "cuda"))
        cpus = 1 if self.settings.cluster is None else (1 if uses_gpu else self.settings.cores or CORES_EACH)
        if self.settings.cluster is None:
            most = self.settings.workers or 1
            gpus = min(1.0, total["GPU"] / most) if uses_gpu else 0
        else:
            each = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            counts = (int(one.get("GPU", 0) if uses_gpu else one.get("CPU", 0) // cpus) for one in each)
            gpus, most = float(uses_gpu), self.settings.workers or sum(counts)
        remote = ray.remote(OnNode).options(
            num_cpus=cpus, num_gpus=gpus, scheduling_strategy="SPREAD", max_restarts=0, max_concurrency=1
        )
        while len(self.members) < most:
            self.started += 1
            actor = remote.remote(self.choice, self.place)
            self.members.append(Member(f"worker {self.started}", actor, actor.node.remote()))

    def events(self, patience_s: float) -> Iterator[Event]:
        """Yield what happened within `patience_s` seconds. Raises OutputError when all workers die."""
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
        """Return a value as an argument that is sent to each machine once."""
        return ray.put(value)

    def supply(self, member: Member, files: Mapping[str, Path]) -> None:
        """Ship files that are not on a worker's machine. files: by digest. Raises OutputError."""
        try:
            for digest in ray.get(member.actor.lacks.remote(list(files))):
                size, offset = files[digest].stat().st_size, 0
                with files[digest].open("rb") as stream:
                    while True:
                        chunk = stream.read(CHUNK_BYTES)
                        last = offset + len(chunk) >= size
                        ray.get(member.actor.take.remote(digest, offset, chunk, last))
                        offset += len(chunk)
                        if last:
                            break
        except (RayError, OSError) as error:
            raise OutputError(f"{member.node}: shipping files failed ({first_line(error)})") from error

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
                self.deaths = 0
                yield Event(member, "news", item)
                return
            value = ray.get(member.pending)
            if member.state == "starting":
                member.node = value
                self._load(member)
            elif member.state == "loading":
                member.state, member.pending, member.facts = "idle", None, value
                yield Event(member, "ready", value)
            else:
                member.state, member.pending = "idle", None
                self.deaths = 0
                yield Event(member, "done", value)
        except RayTaskError as error:
            was, member.state, member.pending = (
                member.state,
                "idle",
                None,
            )  # one that is unfit stays, or would come again
            yield Event(member, "failed" if was == "busy" else "unfit", error.cause or error)
        except (RayActorError, RayError, OutputError) as error:
            self.dismiss(member)
            self.deaths += 1
            if self.deaths >= MOST_DEATHS + len(self.members):
                raise OutputError(f"workers die one after another: {first_line(error)}") from error
            yield Event(member, "lost", first_line(error))

    def _load(self, member: Member) -> None:
        """Let a worker load the model, which is shipped where it is not there."""
        shipped = None
        if self.bundle is not None and not ray.get(member.actor.has_model.remote(sha256(self.bundle["bundle.json"]))):
            shipped = {name: sha256(path) for name, path in self.bundle.items()}
            self.supply(member, {digest: self.bundle[name] for name, digest in shipped.items()})
        member.state, member.pending = "loading", member.actor.load.remote(shipped)


class OnNode(Worker):
    """Work on a machine of a cluster."""

    def node(self) -> str:
        """Return the name of this machine, and its number in the cluster."""
        return f"{socket.gethostname()} {ray.get_runtime_context().get_node_id()[:8]}"


def first_line(error: BaseException) -> str:
    """Return what an error says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
