"""Bound what waits between the stages of the chain by bytes: a frame may have a thousand pixels or millions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from osediff_video.plan import VideoPlan
from osediff_video.stages.prefetch import ahead
from osediff_video.temporal.steps import Step

QUEUE_BYTES, MOST_QUEUED = 256 << 20, 8
MOTION_BYTES = 12
"""Of a pixel of the input: two numbers of flow and one of confidence, float32."""

LATENT_BYTES = 4
"""Of a pixel of the output, at most: two latents of 32 channels a block of 8 x 8, float32."""


@dataclass(frozen=True)
class StepBytes:
    """Hold the memory of one item between two stages of the chain, in bytes."""

    frame: int
    related: int
    upscaled: int
    result: int


def step_bytes(plan: VideoPlan, blend: bool) -> StepBytes:
    """Return how much memory an item takes behind each stage, for the queues between them."""
    sample = 2 if plan.info.bit_depth > 8 else 1
    frame = plan.info.height * plan.info.width * (4 if plan.info.alpha else 3) * sample
    motion = plan.info.height * plan.info.width * MOTION_BYTES if blend else 0
    output = plan.height * plan.width * 3 * sample
    latents = plan.height * plan.width * LATENT_BYTES if plan.options.temporal == "latent" else 0
    related = frame + motion
    return StepBytes(frame, related, related + output + latents, frame + output)


def depth(item_bytes: int) -> int:
    """Return how many items a queue may hold; 0 where two of them, beside those in work, are too many."""
    return min(MOST_QUEUED, QUEUE_BYTES // max(1, item_bytes))


def overlapped(items: Iterator[Step], item_bytes: int, watch: Callable[[], None] = lambda: None) -> Iterator[Step]:
    """Let a stage run ahead of its reader, unless there is room for one of its items only."""
    held = depth(item_bytes)
    return ahead(items, held, watch) if held else items
