"""Drive a batch of videos that workers make: hand out what is to be done, and take notice of how it went."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from image_core.device.tuned import cores
from image_core.errors import OseDiffError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.farm.board import Board, Piece
from osediff_video.farm.film import Film, plan_film
from osediff_video.farm.incoming import Incoming, expect
from osediff_video.farm.machines import Machines
from osediff_video.farm.options import CORES_EACH, FarmOptions
from osediff_video.farm.worker import ModelChoice
from osediff_video.job.manifest import Manifest
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan
from osediff_video.run import Progress, Result

if TYPE_CHECKING:
    from osediff_video.farm.cluster import Crew, Event, Member

PATIENCE_S, GROW_S = 0.5, 3.0
WAIT_S = 60.0
"""How long the command waits for a machine when none has room for a worker."""


@dataclass(frozen=True)
class Tell:
    """Hold who is told what happens: plans, results and errors of each source, progress of all, and sentences."""

    planned: Callable[[Path, VideoPlan], None] = lambda *_: None
    progress: Callable[[Progress], None] = lambda _: None
    done: Callable[[Path, Result], None] = lambda *_: None
    failed: Callable[[Path, str], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None


def upscale_batch(
    pairs: Sequence[tuple[Path, Path]],
    choice: ModelChoice,
    encoding: Encoding,
    options: VideoOptions,
    settings: FarmOptions,
    *,
    restart: bool = False,
    overwrite: bool = False,
    tell: Tell = Tell(),
    place: str | None = None,
) -> None:
    """Upscale videos by workers, as `upscale_video` does one by one, to the same bits.

    pairs: sources and targets. place: folder for scratch on every machine; None is the system's. What fails for one
    video is told, and the others go on. Raises OutputError where no worker can work.
    """
    if settings.cluster is None:
        choice = replace(choice, cores=settings.cores or max(1, cores() // (settings.workers or 1)))
    else:
        choice = replace(choice, cores=settings.cores or CORES_EACH)
    if options.uncertainty:
        raise OutputError("maps of uncertainty are written where a segment is made; use --segments instead of workers")
    films, scale = [], choice.options.scale
    for source, target in pairs:
        try:
            film = plan_film(source, target, scale, encoding, options, settings, restart=restart, overwrite=overwrite)
        except (OseDiffError, OSError) as error:
            tell.failed(source, str(error))
            continue
        films.append(film)
    if films:
        with ExitStack() as held:
            driver = Driver(films, settings, tell, held)
            driver.run(held.enter_context(open_crew(choice, settings, place)))


def open_crew(choice: ModelChoice, settings: FarmOptions, place: str | None) -> "Crew":
    """Return the crew, for which Ray is needed. Raises OutputError where it is not installed."""
    try:
        from osediff_video.farm.cluster import Crew
    except ImportError as error:
        raise OutputError(
            f"several workers need Ray, which is not here ({error}); pip install 'osediff-video[cluster]'"
        ) from error
    return Crew(choice, settings, place)


class Driver:
    """Hold the films of a batch, what is to be done, and who does it. held: ends what was begun, whatever happens."""

    crew: "Crew"

    def __init__(self, films: list[Film], settings: FarmOptions, tell: Tell, held: ExitStack) -> None:
        self.films, self.settings, self.tell, self.held = films, settings, tell, held
        self.board, self.machines = Board(), Machines(settings.mixed, torch.__version__)
        self.incoming: dict[str, Incoming] = {}
        held.callback(self.forget_all)
        self.finishing: dict[int, Future[Result]] = {}
        self.hand = held.enter_context(ThreadPoolExecutor(1, "finish"))
        self.errors: dict[Piece, str] = {}
        self.told: set[str] = set()
        self.lonely_since: float | None = None
        self.started = 0.0  # when the first segment was there to be made: what comes before is no measure of speed
        for video, film in enumerate(films):
            self.board.add(Piece(video, "manifest"))
            self.machines.follow(film.began_with())

    def run(self, crew: "Crew") -> None:
        """Work until every film is over. Raises OutputError when no worker is left that could."""
        self.crew, grown = crew, 0.0
        while not all(film.is_over for film in self.films):
            if not crew.members or time.monotonic() - grown > GROW_S:
                crew.grow(self.closed)
                grown = time.monotonic()
            for member in list(crew.members):
                if member.state == "idle":
                    self.employ(member)
            self.check_work_goes_on()
            for event in crew.events(PATIENCE_S):
                self.on_event(event)
            self.gather_finished()
            self.say_progress()

    @property
    def closed(self) -> set[str]:
        """Return the machines that get no work."""
        return {*self.machines.unfit, *self.board.bad}

    def employ(self, member: "Member") -> None:
        """Give an idle worker something to do."""
        piece = None if member.node in self.closed else self.board.begin(member.name, member.node)
        if piece is None:
            return
        film = self.films[piece.video]
        try:
            if film.shipped:
                self.crew.supply(member, film.shipped)
        except OutputError as error:
            self.crew.dismiss(member)
            self.on_failure(member, str(error))
            return
        if piece.kind == "segment":
            self.incoming[member.name] = expect(film.job.folder)
            self.crew.make(member, film.task, film.files, piece.index)
        else:
            self.crew.call(member, piece.kind, film.task)

    def on_event(self, event: "Event") -> None:
        """Take notice of what a worker did."""
        member, name = event.member, event.member.name
        if event.kind == "ready":
            self.on_ready(member, event.value)
        elif event.kind == "unfit":
            self.leave_out(member.node, str(event.value))
        elif event.kind == "lost":
            self.on_loss(member, event.value)
        elif name not in self.board.running:
            self.forget(name)  # of a film that is over
        elif event.kind == "failed":
            self.on_failure(member, event.value)
        elif event.kind == "news":
            self.on_news(name, event.value)
        else:
            self.accept(member, event.value)

    def on_ready(self, member: "Member", facts: dict[str, Any]) -> None:
        """Judge the machine of a worker that has loaded the model."""
        for sentence in facts["said"]:
            if sentence not in self.told:
                self.told.add(sentence)
                self.tell.note(sentence)
        if (why := self.machines.judge(facts)) is not None:
            self.leave_out(member.node, why)

    def leave_out(self, node: str, why: str) -> None:
        """Give a machine no work, and say so."""
        self.machines.leave_out(node, why)
        self.tell.note(f"{node}: left out: {why}")

    def on_news(self, name: str, item: Any) -> None:
        """Take what a worker sends of its segment."""
        if name in self.incoming:
            try:
                self.incoming[name].take(item)
            except OSError as error:
                self.disk_fails(self.board.running[name][0], error)

    def on_loss(self, member: "Member", why: str) -> None:
        """Let others do the work of a worker that is no more."""
        self.forget(member.name)
        piece, given_up = self.board.lost(member.name)
        self.tell.note(f"{member.node}: lost ({why}){'; its work is done again' if piece and not given_up else ''}")
        if piece is not None and given_up:
            self.end(piece.video, f"{piece}: lost with {self.board.losses[piece]} workers, the last time: {why}")

    def on_failure(self, member: "Member", error: Any) -> None:
        """Let what failed be tried again, or give up its film."""
        self.forget(member.name)
        piece, given_up = self.board.failed(member.name, member.node)
        self.errors[piece] = str(error)
        self.tell.note(f"{member.node}: {error}")
        if member.node in self.board.bad:
            self.tell.note(f"{member.node}: gets no more work, since everything fails there")
        if given_up:
            self.end(piece.video, str(error))

    def accept(self, member: "Member", value: Any) -> None:
        """Take what a worker has finished."""
        piece, overtaken = self.board.done(member.name, member.node)
        for name in overtaken:
            self.forget(name)
        film = self.films[piece.video]
        try:
            if piece.kind == "manifest":
                self.begin(piece.video, value)
            elif piece.kind == "survey":
                film.take_survey(value)
                self.hand_out(piece.video)
            else:
                self.adopt(piece, self.incoming.pop(member.name))
        except OseDiffError as error:
            self.end(piece.video, str(error))
        except OSError as error:
            self.disk_fails(piece, error)

    def begin(self, video: int, manifest: Manifest) -> None:
        """Take hold of the job of a film, since it is known what decides its bits. Raises OSError or OseDiffError."""
        film = self.films[video]
        if (result := film.earlier(manifest)) is not None:
            self.tell.done(film.source, result)
            self.end(video)
            return
        self.tell.planned(film.source, film.plan)
        if self.held.enter_context(film.open(manifest)).survey is None:
            self.board.add(Piece(video, "survey"))
        else:
            self.hand_out(video)

    def hand_out(self, video: int) -> None:
        """Put the missing segments of a film on the board, or finish it. Raises OutputError."""
        film = self.films[video]
        film.resumed = film.done
        film.files = self.crew.shared(film.plan_files())
        self.started = self.started or time.monotonic()
        for index, cost in film.missing():
            self.board.add(Piece(video, "segment", index, cost))
        self.finish_if_whole(video)

    def adopt(self, piece: Piece, came: Incoming) -> None:
        """Let a segment that came join its job; one that is damaged is made again. Raises OSError or OseDiffError."""
        film = self.films[piece.video]
        if film.adopt(piece.index, came):
            self.finish_if_whole(piece.video)
        else:
            self.tell.note(f"segment {piece.index} of {film.source} arrived damaged: it is made again")
            self.board.add(piece)

    def finish_if_whole(self, video: int) -> None:
        """Put a film together in a thread of its own when its last segment is there."""
        film = self.films[video]
        if video not in self.finishing and not film.job.gaps():
            for name in self.board.drop(video):  # slow ones, whose files must not arrive in a folder that goes
                self.forget(name)
            self.finishing[video] = self.hand.submit(film.put_together)

    def gather_finished(self) -> None:
        """Tell the results of films that were put together."""
        for video, future in list(self.finishing.items()):
            if not future.done():
                continue
            del self.finishing[video]
            try:
                self.tell.done(self.films[video].source, future.result())
            except (OseDiffError, OSError) as error:
                self.end(video, str(error))
            else:
                self.end(video)

    def end(self, video: int, error: str | None = None) -> None:
        """End the work on a film, for good or for ill."""
        film = self.films[video]
        for name in self.board.drop(video):
            self.forget(name)
        film.is_over, film.files = True, None
        if error is not None:
            self.tell.failed(film.source, error)
        if film.opened is not None:
            film.opened.leave()

    def disk_fails(self, piece: Piece, error: OSError) -> None:
        """End a film whose folder cannot be written."""
        film = self.films[piece.video]
        self.end(piece.video, f"{film.plan.target}: {error}; finished segments are kept: make room and run again")

    def forget(self, name: str) -> None:
        """Discard what a worker was sending."""
        if (came := self.incoming.pop(name, None)) is not None:
            came.discard()

    def forget_all(self) -> None:
        """Discard what is still on its way, however the batch ended."""
        for name in list(self.incoming):
            self.forget(name)

    def check_work_goes_on(self) -> None:
        """End what nobody can do. Raises OutputError when there is nobody at all who could work."""
        members = self.crew.members
        if members:
            self.lonely_since = None
        if self.finishing or self.board.running or any(member.state != "idle" for member in members):
            return
        if any(member.node not in self.closed for member in members):
            for piece in list(self.board.waiting):
                if not self.films[piece.video].is_over:
                    self.end(
                        piece.video, f"{piece} fails on every machine: {self.errors.get(piece, 'nobody may do it')}"
                    )
        elif members:
            why = self.machines.reasons() or "everything fails there"
            raise OutputError(f"no worker is left that can work: {why}; finished segments are kept")
        else:
            self.wait_for_room()

    def wait_for_room(self) -> None:
        """Wait a while for a machine that has room for a worker. Raises OutputError when none comes."""
        if self.lonely_since is None:
            self.lonely_since = time.monotonic()
            self.tell.note(f"no machine has room for a worker: waiting {WAIT_S:g} s for one")
        elif time.monotonic() - self.lonely_since > WAIT_S:
            needed = self.settings.cores or CORES_EACH
            raise OutputError(
                f"no machine of the cluster has {needed} cores for a worker (--worker-cores), or a GPU; finished "
                "segments are kept: run again when one is there"
            )

    def say_progress(self) -> None:
        """Tell how far all films are together."""
        films = [film for film in self.films if not film.is_over or film.opened]
        totals = [film.total for film in films]
        done = sum(film.done for film in films) + sum(came.frames for came in self.incoming.values())
        resumed = sum(film.resumed for film in films)
        if done > resumed and not all(film.is_over for film in films):
            total = None if None in totals else sum(total or 0 for total in totals)
            self.tell.progress(Progress(done, total, time.monotonic() - self.started, resumed))
