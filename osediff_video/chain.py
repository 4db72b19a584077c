"""Run the chain in one readable function: decoding, model and blend overlap; memory does not depend on length."""

import itertools
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from image_core.device.memory import give_back_heap
from image_core.device.transfer import Landing
from image_core.drafts import AnyImage
from image_core.images import enlarge_plane
from image_core.options import Draws
from image_core.upscaler import Upscaler
from osediff_video.images.edges import extend_colors
from osediff_video.images.uncertainty_maps import with_maps
from osediff_video.job.folder import Job
from osediff_video.job.survey import Survey
from osediff_video.media.reading.stdin import PIPE
from osediff_video.options import VideoOptions
from osediff_video.plan import VideoPlan
from osediff_video.shots.cuts import SETTLED, mark_cuts, mark_known_cuts, mark_listed_cuts, read_cut_list
from osediff_video.shots.in_time import LiveWork
from osediff_video.shots.prompts import (
    ShotEmbeddings,
    read_shots,
    say_shots,
    with_embeddings,
    with_first_texts,
    write_shots,
)
from osediff_video.shots.shot_list import read_shot_list
from osediff_video.shots.treatment import BlendByShot, Treatments
from osediff_video.sources.bookmarks import Bookmarks
from osediff_video.stages.drafting import upscale_steps
from osediff_video.stages.prefetch import StageHangsError, ahead
from osediff_video.stages.queues import depth, overlapped, step_bytes
from osediff_video.temporal.blend import WARMUP_FRAMES, Blend, steadied
from osediff_video.temporal.flow import Estimator, dis_flow, flow_threads
from osediff_video.temporal.steady_colors import STATS_SPAN, steady_colors
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame, Plane

DECODER_PATIENCE_S = 120.0
GIVEN_BACK_FRAMES, GIVEN_BACK_BYTES = 8, 24 << 20
"""After so many results, and so many bytes of them, freed memory is given back: it costs 3 ms a frame at 720p."""

Numbered = tuple[int, Frame]
"""A frame and the number of its segment."""


@dataclass(frozen=True)
class Steadiness:
    """Hold how a video is kept steady.

    blend: None leaves frames as the model made them.
    cuts: their times; None detects them.
    estimate: estimator of the motion.
    treatments: which model, with which settings, makes which frame.
    survey: what was found by reading the video once; None finds it while frames go by.
    """

    blend: Blend | None
    estimate: Estimator
    cuts: list[Fraction] | None
    treatments: Treatments
    survey: Survey | None = None

    @property
    def lead_frames(self) -> int:
        """Return how many frames must be read before the first result, so that it comes out as if all had been read."""
        if self.blend is None:
            return 0
        return WARMUP_FRAMES if self.survey else WARMUP_FRAMES + STATS_SPAN + SETTLED

    @property
    def from_the_start(self) -> bool:
        """Return whether the video must be read from its beginning, to know how many shots there are before a frame."""
        return self.treatments.by_number and self.survey is None


def prepare(options: VideoOptions, upscaler: Upscaler, survey: Survey | None = None) -> Steadiness:
    """Read the files that the options name. Raises MediaError for cuts or shots, CheckpointError for weights."""
    cuts: list[Fraction] | None = None
    if options.cuts != "auto":
        cuts = [] if options.cuts == "off" else read_cut_list(Path(options.cuts))
    shots = read_shot_list(Path(options.shots)) if options.shots else ()
    treatments = Treatments(shots, options, upscaler)
    blend = treatments.usual.blend
    if blend and shots:
        blend = BlendByShot(treatments)
    if options.flow == "dis" or blend is None:
        return Steadiness(blend, dis_flow, cuts, treatments, survey)
    from osediff_video.temporal.raft import load_raft

    estimate = load_raft(Path(options.flow), upscaler.device, upscaler.report)
    return Steadiness(blend, estimate, cuts, treatments, survey)


def find_embeddings(
    plan: VideoPlan, upscaler: Upscaler, steadiness: Steadiness, job: Job | None
) -> ShotEmbeddings | None:
    """Read the video once before the work, when the model's prompts describe what a shot shows, and report it.

    job: stores the prompts. Returns None where all frames have the same prompt, and for a video that can be read only
        once.
    """
    prompter = upscaler.prompter
    if prompter is None or plan.path == PIPE:
        return None
    shots = read_shots(job.folder) if job else None
    if shots is None:
        upscaler.report("reading the video once to find the sharpest frame of each shot, which its prompt is made from")
        frames = ahead(plan.source.frames(), max(1, depth(step_bytes(plan, False).frame)), lambda: watch(plan))
        shots = say_shots(with_cuts(frames, plan, steadiness, 0), prompter, plan.height, plan.width)
        upscaler.report(f"shots: {len(shots)}; the first shows {shots[0].prompt}")
        if job:
            job.begin()
            write_shots(job.folder, shots)
    return ShotEmbeddings(shots, prompter)


def watch(plan: VideoPlan) -> None:
    """Raise StageHangsError when the decoder has produced nothing for long."""
    silence = time.monotonic() - plan.source.last_sign
    if silence > DECODER_PATIENCE_S:
        raise StageHangsError(f"{plan.info.path}: the decoder produced nothing for {silence:.0f} s; giving up")


def upscaled(
    plan: VideoPlan,
    upscaler: Upscaler,
    steadiness: Steadiness,
    embeddings: ShotEmbeddings | None,
    skip: int,
    bookmarks: Bookmarks | None = None,
    end: int | None = None,
    live: LiveWork | None = None,
) -> Generator[Numbered, None, None]:
    """Yield frames after the first `skip`, upscaled and steadied, with the number of the segment each belongs to.

    bookmarks: where reading begins for `skip`; filled with those of the segments that follow. end: position of the
    first frame that is not made, the end of a segment; None is the end of the video. live: what makes frames in time.
    """
    blend, length = steadiness.blend, plan.segment_frames
    lead = min(skip, steadiness.lead_frames)

    def watched() -> None:
        watch(plan)

    treatments = steadiness.treatments
    bookmarks = bookmarks or Bookmarks(length, steadiness.lead_frames)
    bookmark = None if steadiness.from_the_start else bookmarks.at(skip)
    begin = 0 if steadiness.from_the_start else bookmark.position if bookmark else skip - lead
    sizes = step_bytes(plan, blend is not None)
    placed = bookmarks.placed(plan.source, begin, bookmark)
    if live is not None:
        placed = live.clock.arriving(placed, plan.info.time_base)
    decoded = ahead(with_extended_colors(placed), max(1, depth(sizes.frame)), watched)
    related = related_steps(decoded, plan, steadiness, begin, skip - lead, end, live)
    if embeddings is not None:
        related = with_embeddings(related, embeddings)
    elif upscaler.prompter is not None:
        related = with_first_texts(related, upscaler.prompter, plan.height, plan.width)
    one_thread = upscaler.device.type == "mps"  # two at once end the process there, in torch 2.14
    if not (one_thread and (upscaler.prompter is not None or plan.options.flow != "dis")):
        related = overlapped(related, sizes.related, watched)
    needed = (step for step in related if step.position >= skip - min(skip, WARMUP_FRAMES))
    revisable = plan.options.temporal == "latent"
    upscaled = live(needed) if live else upscale_steps(needed, plan, treatments, revisable)
    if plan.options.uncertainty:
        draws = Draws(plan.options.draws, plan.options.seed)
        upscaled = with_maps(upscaled, Path(plan.options.uncertainty), draws, treatments, skip)
    if blend:
        drafted = upscaled if one_thread else overlapped(upscaled, sizes.upscaled)
        upscaled = steadied(drafted, blend, length)
    asked_for = (step for step in upscaled if step.position >= skip)
    between = max(GIVEN_BACK_FRAMES, GIVEN_BACK_BYTES // sizes.result)
    for number, step in enumerate(overlapped(leaving(asked_for, treatments), sizes.result), 1):
        yield step.position // length, finished(step)
        if number % between == 0:
            give_back_heap()


def with_extended_colors(frames: Generator[Frame, None, None]) -> Iterator[Frame]:
    """Yield the frames with what is wholly transparent in the colours beside it, which alone may bleed."""
    with closing(frames):
        for frame in frames:
            yield frame if frame.alpha is None else replace(frame, image=extend_colors(frame.image, frame.alpha))


def related_steps(
    frames: Iterable[Frame],
    plan: VideoPlan,
    steadiness: Steadiness,
    begin: int,
    first: int,
    end: int | None = None,
    live: LiveWork | None = None,
) -> Iterator[Step]:
    """Determine everything known of a frame before the model sees it: shots, treatment, motion, tones.

    frames: from `begin` on. Steps: from `first` on, before `end`.
    """
    blend, treatments, survey = steadiness.blend, steadiness.treatments, steadiness.survey
    treatments.usual.upscaler.workers.set_threads()  # for RAFT
    if blend or treatments.by_number:
        frames = with_cuts(frames, plan, steadiness, begin)
    marked = treatments.marked(frames, plan.info, survey.cuts_before(begin) if survey else 0)
    known = itertools.islice(marked, first - begin, None if end is None else end - begin)
    wanted = live.wants_motion if live else lambda: True
    # RAFT has the device or all cores as it is; a live frame would wait for those that are looked at beside it
    alone = steadiness.estimate is not dis_flow or live is not None
    threads = 1 if alone else flow_threads(plan.info.height, plan.info.width)
    related = steps(known, first, steadiness.estimate if blend else None, wanted, threads)
    if not (blend and treatments.fix_by_statistics):
        return related
    return steady_colors(related) if survey is None else with_tones(related, survey)


def with_tones(related: Iterable[Step], survey: Survey) -> Iterator[Step]:
    """Yield the steps with the tones that were found before."""
    for step in related:
        yield replace(step, tone=survey.tone(step.position))


def with_cuts(frames: Iterable[Frame], plan: VideoPlan, steadiness: Steadiness, begin: int) -> Iterator[Frame]:
    """Yield the frames, from number `begin` on, with those marked that begin a shot: as found, listed, or seen now."""
    if steadiness.survey is not None:
        return mark_known_cuts(frames, begin, steadiness.survey.cuts)
    cuts = steadiness.cuts
    return mark_cuts(frames) if cuts is None else mark_listed_cuts(frames, cuts, plan.info)


def leaving(steps: Iterable[Step], treatments: Treatments) -> Iterator[Step]:
    """Let the last images leave a device that they are on, while it makes others; nothing else goes on with them."""
    treatments.usual.upscaler.workers.set_threads()  # for tones
    for step in steps:
        landing = Landing(last_image(step, treatments.at(step.frame).upscaler))
        yield replace(step, landing=landing, draft=None, output=None)


def last_image(step: Step, upscaler: Upscaler) -> AnyImage:
    """Return the image as it will be encoded, where it is."""
    assert step.draft is not None
    if step.output is None:
        return step.draft.image
    if not upscaler.options.keep_tones:
        return step.output
    source = step.frame.image if step.draft.source is None else step.draft.source
    return upscaler.with_tones_of(source, step.output)  # the blend has brought tones of other frames


def finished(step: Step) -> Frame:
    """Return the frame as it will be encoded; transparency grows with it."""
    assert step.landing is not None
    image = step.landing.array()
    alpha = step.frame.alpha
    if alpha is not None:
        alpha = cast(Plane, enlarge_plane(alpha, *image.shape[:2]))
    return replace(step.frame, image=image, alpha=alpha)
