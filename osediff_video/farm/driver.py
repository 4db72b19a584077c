"""Drive a batch of videos that workers make: hand out segments, gather them, finish each video."""

import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from image_core.errors import OseDiffError, OutputError
from image_core.storage.files import sha256
from osediff_video.encoding import Encoding
from osediff_video.farm.board import Board, Piece
from osediff_video.farm.options import CORES_EACH, FarmOptions
from osediff_video.farm.worker import Files, ModelChoice, Task, files_in
from osediff_video.finish import count, finish_job
from osediff_video.job.finished import Finished, plan_run
from osediff_video.job.folder import Job
from osediff_video.job.manifest import Manifest
from osediff_video.job.order import Order
from osediff_video.job.survey import read_survey
from osediff_video.media.reading.stdin import PIPE
from osediff_video.media.writing.segment import adopt_segment
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan
from osediff_video.run import Progress, Result
from osediff_video.suffixes import split_pattern
from osediff_video.types import Faults

if TYPE_CHECKING:
    from osediff_video.farm.cluster import Crew, Event, Member

PATIENCE_S, GROW_S = 0.5, 3.0
COMPUTES = ("device", "torch", "processor", "model")


@dataclass(frozen=True)
class Tell:
    """Hold who is told what happens: plans, results and errors of each source, progress of all, and sentences."""

    planned: Callable[[Path, VideoPlan], None] = lambda *_: None
    progress: Callable[[Progress], None] = lambda _: None
    done: Callable[[Path, Result], None] = lambda *_: None
    failed: Callable[[Path, str], None] = lambda *_: None
    note: Callable[[str], None] = lambda _: None


@dataclass
class Film:
    """Hold one video of a batch and how far it is."""

    source: Path
    plan: VideoPlan
    task: Task
    finished: Finished | None
    shipped: dict[str, Path]
    job: Job | None = None
    files: Any = None
    resumed: int = 0
    begun: float = field(default_factory=time.monotonic)
    is_over: bool = False

    @property
    def total(self) -> int | None:
        """Return how many frames there will be, as far as is known."""
        survey = self.job.survey if self.job else None
        return survey.frames if survey else self.plan.info.frame_count_estimate


@dataclass
class Incoming:
    """Hold a segment on its way from a worker: frames done, then its file, then its record."""

    part: Path
    frames: int = 0
    file: BinaryIO | None = None
    record: dict[str, Any] | None = None

    def take(self, item: Any) -> None:
        """Accept what a worker yields. Raises OSError."""
        if isinstance(item, int):
            self.frames = item
        elif isinstance(item, bytes):
            self.file = self.file or self.part.open("wb")
            self.file.write(item)
        else:
            self.record = item

    def close(self) -> None:
        """Close the file, so that it can be read."""
        if self.file is not None:
            self.file.close()

    def discard(self) -> None:
        """Remove what arrived."""
        self.close()
        self.part.unlink(missing_ok=True)


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
        choice = replace(choice, cores=settings.cores or max(1, usable_cores() // (settings.workers or 1)))
    else:
        choice = replace(choice, cores=settings.cores or CORES_EACH)
    if options.uncertainty:
        raise OutputError("maps of uncertainty are written where a segment is made; use --segments instead of workers")
    with ExitStack() as held:
        driver = Driver(choice, settings, tell, held, restart=restart, overwrite=overwrite)
        for source, target in pairs:
            driver.admit(source, target, encoding, options)
        if driver.films:
            driver.crew = held.enter_context(open_crew(choice, settings, place))
            driver.run()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    """Hold the films of a batch, what is to be done, and who does it."""

    crew: "Crew"

    def __init__(
        self,
        choice: ModelChoice,
        settings: FarmOptions,
        tell: Tell,
        held: ExitStack,
        *,
        restart: bool,
        overwrite: bool,
    ) -> None:
        self.choice, self.settings, self.tell, self.held = choice, settings, tell, held
        self.restart, self.overwrite = restart, overwrite
        self.films: list[Film] = []
        self.board = Board()
        self.incoming: dict[str, Incoming] = {}
        self.finishing: dict[int, Future[Result]] = {}
        self.hand = held.enter_context(ThreadPoolExecutor(1, "finish"))
        self.computes: dict[str, Any] | None = None
        self.unfit: dict[str, str] = {}
        self.started = 0.0  # when the first segment was there to be made: what comes before is no measure of speed

    def admit(self, source: Path, target: Path, encoding: Encoding, options: VideoOptions) -> None:
        """Plan a video, or tell why it cannot be made."""
        try:
            if PIPE in (source, target):
                raise OutputError("several workers need a file as input and as output, not a pipe")
            scale = self.choice.options.scale
            plan, finished = plan_run(
                source, target, scale, encoding, options, restart=self.restart, overwrite=self.overwrite
            )
            encoding = replace(encoding, frames=split_pattern(target)[1] or encoding.frames)
            shipped = self.shipped_files(source, options)
        except (OseDiffError, OSError) as error:
            self.tell.failed(source, str(error))
            return
        digests = {str(path): digest for digest, path in shipped.items()}
        order = Order(source.absolute(), scale, encoding, options)
        task = Task(order, plan.target.name, digests, self.settings.mixed)
        self.films.append(Film(source, plan, task, finished, shipped))
        self.board.add(Piece(len(self.films) - 1, "manifest"))

    def shipped_files(self, source: Path, options: VideoOptions) -> dict[str, Path]:
        """Return the files that workers elsewhere have to be sent, by digest."""
        if self.settings.cluster is None:
            return {}
        names = (options.cuts, options.flow, options.shots)
        paths = [Path(name) for name in names if name and Path(name).is_file()]
        if self.settings.ship_input:
            if not source.is_file():
                raise OutputError(f"{source}: only single files can be shipped; put folders on shared storage")
            paths.append(source.absolute())
        return {sha256(path): path for path in paths}

    def run(self) -> None:
        """Work until every film is over. Raises OutputError when no worker is left that could."""
        grown = 0.0
        while not all(film.is_over for film in self.films):
            if time.monotonic() - grown > GROW_S:
                self.crew.grow()
                grown = time.monotonic()
            for member in self.crew.members:
                if member.state == "idle":
                    self.employ(member)
            self.check_somebody_works()
            for event in self.crew.events(PATIENCE_S):
                self.on_event(event)
            self.gather_finished()
            self.say_progress()

    def employ(self, member: "Member") -> None:
        """Give an idle worker something to do."""
        if member.node in self.unfit:
            return
        piece = self.board.begin(member.name, member.node)
        if piece is None:
            return
        film = self.films[piece.video]
        try:
            if film.shipped:
                self.crew.supply(member, film.shipped)
            if piece.kind == "segment":
                assert film.job is not None
                part = film.job.folder / f".osediff-{secrets.token_hex(8)}.mkv"
                self.incoming[member.name] = Incoming(part)
                self.crew.make(member, film.task, film.files, piece.index)
            else:
                self.crew.call(member, piece.kind, film.task)
        except OutputError as error:
            self.board.lost(member.name)
            self.tell.note(str(error))
            self.crew.dismiss(member)

    def on_event(self, event: "Event") -> None:
        """Take notice of what a worker did."""
        member, name = event.member, event.member.name
        if event.kind == "ready":
            self.judge(member, event.value)
        elif event.kind == "news":
            if name not in self.board.running:
                self.forget(name)  # of a film that is over
            elif name in self.incoming:
                try:
                    self.incoming[name].take(event.value)
                except OSError as error:
                    self.disk_fails(self.board.running[name][0], error)
        elif event.kind == "lost":
            self.forget(name)
            self.board.lost(name)
            self.tell.note(f"{member.node or name}: lost ({event.value}); its work is done again")
        elif event.kind == "unfit":
            self.unfit[member.node] = str(event.value)
            self.tell.note(f"{member.node}: left out: {event.value}")
        elif name not in self.board.running:
            self.forget(name)  # of a film that is over
        elif event.kind == "failed":
            self.forget(name)
            piece, given_up = self.board.failed(name, member.node)
            self.tell.note(f"{member.node}: {event.value}")
            if self.board.is_bad(member.node):
                self.tell.note(f"{member.node}: gets no more work, since everything fails there")
            if given_up:
                self.end(piece.video, str(event.value))
        else:
            self.accept(member, event.value)

    def judge(self, member: "Member", facts: dict[str, Any]) -> None:
        """Leave out a machine that would compute other bits."""
        if self.computes is None:
            self.computes = facts
            for sentence in facts["said"]:
                self.tell.note(sentence)
        wrong = [
            f"{name} is {facts[name]}, elsewhere {self.computes[name]}"
            for name in COMPUTES
            if facts[name] != self.computes[name]
        ]
        if wrong and not self.settings.mixed:
            self.unfit[member.node] = "; ".join(wrong)
            self.tell.note(
                f"{member.node}: left out, since bits would differ: {'; '.join(wrong)} (--allow-mixed uses it)"
            )

    def accept(self, member: "Member", value: Any) -> None:
        """Take what a worker has finished."""
        piece = self.board.done(member.name, member.node)
        film = self.films[piece.video]
        try:
            if piece.kind == "manifest":
                self.begin(piece.video, value)
            elif piece.kind == "survey":
                assert film.job is not None
                film.job.begin()
                for name, content in value.items():
                    if name != "manifest.json":
                        (film.job.folder / name).write_bytes(content)
                film.job.survey = read_survey(film.job.folder)
                self.hand_out(piece.video)
            else:
                self.adopt(piece, self.incoming.pop(member.name))
        except OseDiffError as error:
            self.end(piece.video, str(error))
        except OSError as error:
            self.disk_fails(piece, error)

    def begin(self, video: int, manifest: Manifest) -> None:
        """Take hold of the job of a film, now that it is known what decides its bits."""
        film = self.films[video]
        if film.finished is not None:
            if not film.finished.is_of(film.plan, manifest):
                raise OutputError(
                    f"{film.plan.target}: already exists, made of another source or with other settings; add "
                    "--overwrite to replace it"
                )
            frames = film.finished.frames
            result = Result(film.plan.target, frames, frames, 0.0, (), Faults(), None, already_finished=True)
            self.tell.done(film.source, result)
            self.end(video)
            return
        self.tell.planned(film.source, film.plan)
        job = Job(film.plan.target, film.plan.sources, manifest, restart=self.restart, mixed=self.settings.mixed)
        film.job = self.held.enter_context(job)
        if film.job.survey is None:
            self.board.add(Piece(video, "survey"))
        else:
            self.hand_out(video)

    def hand_out(self, video: int) -> None:
        """Put the missing segments of a film on the board, or finish it."""
        film = self.films[video]
        assert film.job is not None and film.job.survey is not None
        film.resumed = count(film.job.segments)
        film.files = self.crew.shared(plan_files(film.job.folder))
        self.started = self.started or time.monotonic()
        for first, after in film.job.gaps():
            assert after is not None
            for index in range(first, after):
                self.board.add(self.segment(video, index))
        self.finish_if_whole(video)

    def segment(self, video: int, index: int) -> Piece:
        """Return the piece for a segment. Its cost is its number of pixels."""
        film = self.films[video]
        assert film.job is not None and film.job.survey is not None
        pixels = film.plan.height * film.plan.width / 1e6
        return Piece(video, "segment", index, film.job.survey.length(index) * pixels)

    def adopt(self, piece: Piece, came: Incoming) -> None:
        """Let a segment that came join the job; one that is damaged is made again. Raises OSError or OseDiffError."""
        film = self.films[piece.video]
        assert film.job is not None
        came.close()
        try:
            if any(segment.index == piece.index for segment in film.job.segments):
                return  # a slow worker, which another one has overtaken
            segment = adopt_segment(film.job.folder, came.part, came.record) if came.record else None
        finally:
            came.discard()
        if segment is None:
            self.tell.note(f"segment {piece.index} of {film.source} arrived damaged: it is made again")
            self.board.add(piece)
            return
        film.job.add(segment)
        self.finish_if_whole(piece.video)

    def finish_if_whole(self, video: int) -> None:
        """Put a film together in a thread of its own when its last segment is there."""
        film = self.films[video]
        assert film.job is not None
        if video not in self.finishing and not film.job.gaps():
            self.finishing[video] = self.hand.submit(self.finished, film, film.job)

    def finished(self, film: Film, job: Job) -> Result:
        frames = count(job.segments)
        check, notes, faults = finish_job(film.plan, job)
        elapsed_s = time.monotonic() - film.begun
        return Result(film.plan.target, frames, film.resumed, elapsed_s, (*film.plan.notes, *notes), faults, check)

    def gather_finished(self) -> None:
        """Tell the results of films that were put together."""
        for video, future in list(self.finishing.items()):
            if future.done() and not self.films[video].is_over:
                try:
                    result = future.result()
                except (OseDiffError, OSError) as error:
                    self.end(video, str(error))
                    continue
                self.tell.done(self.films[video].source, result)
                self.end(video)

    def end(self, video: int, error: str | None = None) -> None:
        """End the work on a film, for good or for ill."""
        film = self.films[video]
        self.board.drop(video)
        film.is_over, film.files = True, None
        if error is not None:
            self.tell.failed(film.source, error)
        if film.job is not None:
            film.job.leave()

    def disk_fails(self, piece: Piece, error: OSError) -> None:
        """End a film whose folder cannot be written."""
        film = self.films[piece.video]
        self.end(piece.video, f"{film.plan.target}: {error}; finished segments are kept: make room and run again")

    def forget(self, name: str) -> None:
        """Discard what a worker was sending."""
        if (came := self.incoming.pop(name, None)) is not None:
            came.discard()

    def check_somebody_works(self) -> None:
        """Raise OutputError when nothing can go on: every machine is left out, or fails at everything."""
        members = self.crew.members
        useless = [one for one in members if one.node and (one.node in self.unfit or self.board.is_bad(one.node))]
        if members and len(useless) == len(members) and not self.finishing and not self.board.running:
            reasons = "; ".join(f"{node}: {reason}" for node, reason in self.unfit.items()) or "everything fails there"
            raise OutputError(f"no worker is left that can work: {reasons}")

    def say_progress(self) -> None:
        """Tell how far all films are together."""
        films = [film for film in self.films if not film.is_over or film.job]
        totals = [film.total for film in films]
        done = sum(count(film.job.segments) for film in films if film.job)
        done += sum(came.frames for came in self.incoming.values())
        resumed = sum(film.resumed for film in films)
        if done > resumed and not all(film.is_over for film in films):
            total = None if None in totals else sum(total or 0 for total in totals)
            self.tell.progress(Progress(done, total, time.monotonic() - self.started, resumed))


def plan_files(folder: Path) -> Files:
    """Return what a worker needs of a job's folder to make any segment."""
    return {name: content for name, content in files_in(folder).items() if not name[0].isdigit()}
