"""Follow one video of a batch from its plan to its result, whoever makes its segments."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from image_core.errors import OutputError
from image_core.storage.files import sha256
from osediff_video.encoding import Encoding
from osediff_video.farm.incoming import Incoming
from osediff_video.farm.options import FarmOptions
from osediff_video.farm.worker import Files, Task, files_in
from osediff_video.finish import count, finish_job
from osediff_video.job.finished import Finished, plan_run
from osediff_video.job.folder import MANIFEST, Job, job_folder
from osediff_video.job.manifest import Manifest, read_manifest
from osediff_video.job.order import Order
from osediff_video.job.survey import Survey, read_survey
from osediff_video.media.reading.stdin import PIPE
from osediff_video.media.writing.segment import adopt_segment
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan
from osediff_video.run import Result
from osediff_video.suffixes import split_pattern
from osediff_video.types import Faults


@dataclass
class Film:
    """Hold one video. task: it as workers see it. shipped: files that they are sent, by digest. files: of its plan."""

    source: Path
    plan: VideoPlan
    task: Task
    finished: Finished | None
    shipped: dict[str, Path]
    restart: bool
    opened: Job | None = None
    files: Any = None
    resumed: int = 0
    begun: float = field(default_factory=time.monotonic)
    is_over: bool = False

    @property
    def job(self) -> Job:
        """Return the job, which is there once `open` was called."""
        assert self.opened is not None
        return self.opened

    @property
    def survey(self) -> Survey:
        """Return what reading the video once found; it is there once a worker has read it."""
        assert self.job.survey is not None
        return self.job.survey

    @property
    def total(self) -> int | None:
        """Return how many frames there will be, as far as is known."""
        survey = self.opened.survey if self.opened else None
        return survey.frames if survey else self.plan.info.frame_count_estimate

    @property
    def done(self) -> int:
        """Return how many frames are in finished segments."""
        return count(self.opened.segments) if self.opened else 0

    def began_with(self) -> Mapping[str, Any]:
        """Return what computed the part that an earlier run has finished; nothing where there is none."""
        record = None if self.restart else read_manifest(job_folder(self.plan.target) / MANIFEST)
        return record[1].computation if record else {}

    def earlier(self, manifest: Manifest) -> Result | None:
        """Return the result where an earlier run made it. Raises OutputError where it is another one's."""
        if self.finished is None:
            return None
        if not self.finished.is_of(self.plan, manifest):
            raise OutputError(
                f"{self.plan.target}: already exists, made of another source or with other settings; add "
                "--overwrite to replace it"
            )
        frames = self.finished.frames
        return Result(self.plan.target, frames, frames, 0.0, (), Faults(), None, already_finished=True)

    def open(self, manifest: Manifest) -> Job:
        """Return the job as a context, now that it is known what decides its bits."""
        self.opened = Job(self.plan.target, self.plan.sources, manifest, restart=self.restart, mixed=self.task.mixed)
        return self.opened

    def take_survey(self, files: Files) -> None:
        """Record what a worker found by reading the video once. Raises OSError or OutputError."""
        self.job.begin()
        for name, content in files.items():
            if name != "manifest.json":
                (self.job.folder / name).write_bytes(content)
        self.job.survey = read_survey(self.job.folder)

    def plan_files(self) -> Files:
        """Return what a worker needs of the job's folder to make any segment."""
        return {name: content for name, content in files_in(self.job.folder).items() if not name[0].isdigit()}

    def missing(self) -> Iterator[tuple[int, float]]:
        """Yield the segments that are still to be made, with their numbers of megapixels."""
        for first, after in self.job.gaps():
            assert after is not None
            for index in range(first, after):
                yield index, self.survey.length(index) * self.plan.height * self.plan.width / 1e6

    def adopt(self, index: int, came: Incoming) -> bool:
        """Let a segment that came join the job; return whether it is sound. Raises OSError or OseDiffError."""
        try:
            came.close()
            if any(segment.index == index for segment in self.job.segments):
                return True  # a slow worker, which another one has overtaken
            segment = adopt_segment(self.job.folder, came.part, came.record) if came.record else None
        finally:
            came.discard()
        if segment is not None:
            self.job.add(segment)
        return segment is not None

    def put_together(self) -> Result:
        """Write the result from its segments. Raises OSError or OseDiffError."""
        check, notes, faults = finish_job(self.plan, self.job)
        elapsed_s = time.monotonic() - self.begun
        return Result(self.plan.target, self.done, self.resumed, elapsed_s, (*self.plan.notes, *notes), faults, check)


def plan_film(
    source: Path,
    target: Path,
    scale: float,
    encoding: Encoding,
    options: VideoOptions,
    settings: FarmOptions,
    *,
    restart: bool,
    overwrite: bool,
) -> Film:
    """Plan a video before anything is started. Raises OSError, MediaError or OutputError where it cannot be made."""
    if PIPE in (source, target):
        raise OutputError("several workers need a file as input and as output, not a pipe")
    plan, finished = plan_run(source, target, scale, encoding, options, restart=restart, overwrite=overwrite)
    encoding = replace(encoding, frames=split_pattern(target)[1] or encoding.frames)
    shipped = files_to_ship(source, options, settings)
    digests = {str(path): digest for digest, path in shipped.items()}
    order = Order(source.absolute(), scale, encoding, options)
    return Film(source, plan, Task(order, plan.target.name, digests, settings.mixed), finished, shipped, restart)


def files_to_ship(source: Path, options: VideoOptions, settings: FarmOptions) -> dict[str, Path]:
    """Return the files that workers elsewhere have to be sent, by digest. Raises OSError or OutputError."""
    if settings.cluster is None:
        return {}
    paths = [Path(name) for name in (options.cuts, options.flow, options.shots) if name and Path(name).is_file()]
    if settings.ship_input:
        if not source.is_file():
            raise OutputError(f"{source}: only single files can be shipped; put folders on shared storage")
        paths.append(source.absolute())
    return {sha256(path): path for path in paths}
