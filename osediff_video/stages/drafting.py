"""Give frames to the model: to workers one by one on a CPU, in batches on a device. Drafts come out in order."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from image_core.drafts import Draft, Pending
from image_core.errors import NotFiniteError
from osediff_video.plan import VideoPlan
from osediff_video.shots.treatment import Treatments
from osediff_video.stages.prefetch import early
from osediff_video.stages.queues import QUEUE_BYTES
from osediff_video.temporal.blend import WARMUP_FRAMES
from osediff_video.temporal.steps import Step

BLEND_BYTES = 200
"""What the blend takes on a device for a pixel of the output: sixteen images of three float32, and some planes."""


def upscale_steps(related: Iterable[Step], plan: VideoPlan, treatments: Treatments, revisable: bool) -> Iterator[Step]:
    """Put the model's draft into every step, in order; a frame equal to the previous one is not computed again."""
    several = treatments.usual.upscaler.workers.count > 1
    return (by_workers if several else by_batches)(related, plan, treatments, revisable)


def by_workers(related: Iterable[Step], plan: VideoPlan, treatments: Treatments, revisable: bool) -> Iterator[Step]:
    """Let each worker take the next frame when it is done with one, while finished ones are read in order."""
    size, held, last = (plan.height, plan.width), deque[tuple[Step, Pending]](), None
    for step in related:
        upscaler = treatments.at(step.frame).upscaler
        if last is None or not step.same or computes_anew(step, plan):
            embedding = None if upscaler.prompter is None else step.embedding
            last = upscaler.begin(step.frame.image, size, step.tone, revisable, embedding)
        held.append((step, last))
        # a worker that is done has one more to begin with; more would only take memory
        most = upscaler.workers.count + min(upscaler.workers.count, QUEUE_BYTES // (3 * size[0] * size[1]))
        while held and (len(held) > most or held[0][1].is_done()):
            yield with_draft(*held.popleft(), plan)
    while held:
        yield with_draft(*held.popleft(), plan)


def with_draft(step: Step, pending: Pending, plan: VideoPlan) -> Step:
    try:
        return replace(step, draft=pending.result())
    except NotFiniteError as error:
        raise named(error, step, plan) from error


def named(error: NotFiniteError, step: Step, plan: VideoPlan) -> NotFiniteError:
    """Return the error with the frame that it is about."""
    time_s = float(step.frame.pts * plan.info.time_base)
    return NotFiniteError(error.index, f"frame {step.position + 1}, at {time_s:.3f} s")


def computes_anew(step: Step, plan: VideoPlan) -> bool:
    """Tell whether a resumed job may begin here: then every job computes the frame, or they would differ."""
    return step.position % plan.segment_frames in (0, plan.segment_frames - WARMUP_FRAMES)


def by_batches(related: Iterable[Step], plan: VideoPlan, treatments: Treatments, revisable: bool) -> Iterator[Step]:
    """Give frames to the model in batches; on a device one begins before the last is waited for."""
    upscaler = treatments.usual.upscaler
    in_flight = 0 if upscaler.device.type == "cpu" else 1
    stays = in_flight and upscaler.planner.has_beside(plan.height * plan.width * BLEND_BYTES)
    last: Draft | None = None
    for batch, is_fresh, wait in early(begun(related, plan, treatments, revisable), in_flight):
        try:
            drafts = iter(wait())
        except NotFiniteError as error:
            raise named(error, list(itertools.compress(batch, is_fresh))[error.index], plan) from error
        for step, computed in zip(batch, is_fresh, strict=True):
            if computed:
                last = next(drafts) if stays else next(drafts).landed()
            yield replace(step, draft=last)


def begun(
    related: Iterable[Step], plan: VideoPlan, treatments: Treatments, revisable: bool
) -> Iterator[tuple[list[Step], list[bool], Callable[[], list[Draft]]]]:
    """Yield batches as the model begins them: the steps, which of them it computes, and what waits for their drafts."""
    size, is_first = (plan.height, plan.width), True
    for batch in batches(related, treatments, plan.segment_frames, size):
        upscaler = treatments.at(batch[0].frame).upscaler
        anew, is_first = is_first or computes_anew(batch[0], plan), False
        is_fresh = [not step.same or (anew and number == 0) for number, step in enumerate(batch)]
        fresh = list(itertools.compress(batch, is_fresh))
        images, tones = [step.frame.image for step in fresh], [step.tone for step in fresh if step.tone]
        # a prompt of the shot's own stands in the place of what its images show
        embeddings = [step.embedding for step in fresh if step.embedding is not None and upscaler.prompter is not None]
        yield batch, is_fresh, upscaler.begin_batch(images, size, tones, revisable, embeddings)


def batches(
    related: Iterable[Step], treatments: Treatments, segment_frames: int, size: tuple[int, int]
) -> Iterator[list[Step]]:
    """Group steps as the upscaler's workload for outputs of `size` has it. All of a group are treated alike.

    The same frames meet in a batch wherever reading began: none spans the start of a segment or of its warm-up.
    """
    held: list[Step] = []
    for step in related:
        place = step.position % segment_frames
        most = treatments.at(step.frame).upscaler.workload_for(*size).batch
        full = len(held) >= most or (held and held[0].frame.treatment != step.frame.treatment)
        if held and (full or place in (0, segment_frames - WARMUP_FRAMES)):
            yield held
            held = []
        held.append(step)
    if held:
        yield held
