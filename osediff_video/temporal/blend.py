"""Blend each output with the previous one, moved along the motion of the input."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, cast

import cv2
import numpy as np
from torch import Tensor

from image_core.device.bicubic import enlarge_levels
from image_core.drafts import AnyImage, AnyValues
from image_core.images import enlarge, strips
from image_core.upscaler import Upscaler
from osediff_video.options import VideoOptions
from osediff_video.temporal import on_device
from osediff_video.temporal.flow import Motion, enlarged, warp, warp_rows
from osediff_video.temporal.steps import Step
from osediff_video.types import ImageArray

WARMUP_FRAMES = 11
"""How far back the blend looks where a segment begins: what is older weighs 0.7^11, less than 2 %."""

BANDS_SIGMA_PX = 1.5


@dataclass(frozen=True)
class State:
    """Carry images from frame to frame, (H, W, 3), in the units of the output.

    image: the last output, before rounding.
    guide: the enlarged input that its decoder looked at.
    """

    image: AnyValues
    guide: AnyValues | None = None


class Blend(Protocol):
    """Carry the last image into the next, in one of several ways."""

    def begin(self, step: Step) -> State:
        """Return the state at a frame that has nothing to do with the previous one."""
        ...

    def carry(self, state: State, step: Step) -> State:
        """Return the state after `step`, whose motion is known."""
        ...


@dataclass(frozen=True)
class PixelBlend:
    """Mix the last output, moved along the motion, into the next one.

    low, high: weights of the last image, where motion is certain, for low and high spatial frequencies. Equal weights
    are one blend. A generative model invents texture that is not coherent in time and would be averaged away: it gets
    less in the high band.
    """

    low: float
    high: float

    @staticmethod
    def of(strength: float, generative: bool) -> "PixelBlend":
        """Return the blend of a strength; 0.7 gives what measured best.

        That is 0.7 in both bands, or 0.85 and 0.3 for a generative model.
        """
        if generative:
            return PixelBlend(1 - (1 - strength) / 2, strength * 3 / 7)
        return PixelBlend(strength, strength)

    def begin(self, step: Step) -> State:
        return State(values_of(step))

    def carry(self, state: State, step: Step) -> State:
        image = output_of(step)
        current = values_of(step) if isinstance(image, Tensor) else image
        return State(self.mixed(current, state.image, motion_at(step)))

    def mixed(self, current: AnyImage | AnyValues, previous: AnyValues, large: Motion | Tensor) -> AnyValues:
        """Mix `previous`, moved along the motion, into `current`. large: from current to previous, at their size."""
        if isinstance(large, Tensor):
            assert isinstance(current, Tensor) and isinstance(previous, Tensor)
            return on_device.mixed(current, previous, large, self.low, self.high, BANDS_SIGMA_PX)
        assert isinstance(current, np.ndarray) and isinstance(previous, np.ndarray)
        if self.low == self.high:
            result = np.empty_like(previous)
            for rows in strips(*previous.shape[:2]):
                share = self.low * large.confidence[rows]
                now = current[rows].astype(np.float32, copy=False)
                cv2.blendLinear(now, warp_rows(previous, large.flow, rows), 1 - share, share, dst=result[rows])
            return result
        difference = warp(previous, large.flow) - current
        low = cv2.GaussianBlur(difference, (0, 0), BANDS_SIGMA_PX)
        return current + large.confidence[..., None] * (self.high * difference + (self.low - self.high) * low)


@dataclass(frozen=True)
class LatentBlend:
    """Bring the result of the pixel blend into the clean latent and decode it from there.

    z + E(blend) - E(D(z)): the difference takes the error of the round trip through the latent out of the sum, or it
    would grow from frame to frame. Warping the latent itself blurs, since a latent position is eight pixels wide.
    The idea is that of Upscale-A-Video, https://arxiv.org/abs/2312.06640, section 3.3, at the accuracy of pixels.
    """

    pixel: PixelBlend
    upscaler: Upscaler

    def begin(self, step: Step) -> State:
        return State(values_of(step), guide_of(step))

    def carry(self, state: State, step: Step) -> State:
        draft, large = step.draft, motion_at(step)
        assert draft is not None and state.guide is not None
        blended = self.pixel.mixed(values_of(step), state.image, large)
        guide = guide_of(step)
        if self.upscaler.generator.autoencoder.decoder_sees_image:
            guide = self.pixel.mixed(guide, state.guide, large)  # or what flickers in it comes back
        return State(self.upscaler.revise(draft, blended, guide, step.tone), guide)


def choose_blend(options: VideoOptions, upscaler: Upscaler) -> Blend | None:
    """Return the blend that the options select; None leaves frames as the model made them."""
    if options.temporal == "off":
        return None
    pixel = PixelBlend.of(options.temporal_strength, upscaler.generative)
    return LatentBlend(pixel, upscaler) if options.temporal == "latent" else pixel


def output_of(step: Step) -> AnyImage:
    assert step.draft is not None
    return step.draft.image


def values_of(step: Step) -> AnyValues:
    image = output_of(step)
    return image.float() if isinstance(image, Tensor) else image.astype(np.float32)


def motion_at(step: Step) -> Motion | Tensor:
    """Return the motion at the size of the output, where that is; as a tensor it is (H, W, 3), see `motion_there`."""
    assert step.motion is not None
    image = output_of(step)
    if isinstance(image, Tensor):
        return on_device.motion_there(step.motion, image)
    return enlarged(step.motion, *image.shape[:2])


def guide_of(step: Step) -> AnyValues:
    assert step.draft is not None
    height, width = output_of(step).shape[:2]
    if step.draft.source is not None:
        return enlarge_levels(step.draft.source[None], height, width)[0].permute(1, 2, 0)
    return enlarge(step.frame.image, height, width).astype(np.float32)


def steadied(upscaled: Iterable[Step], blend: Blend, segment_frames: int) -> Iterator[Step]:
    """Blend the outputs in order; at every segment's start the blend begins anew, some frames before it.

    So a segment's images depend on nothing older than its warm-up, wherever reading began.
    """
    state: State | None = None
    warm: State | None = None  # what the next segment begins with; made on the way, since steps are too large to keep
    for step in upscaled:
        place = step.position % segment_frames
        if place == 0:
            state, warm = warm, None
        state = next_state(state, step, blend)
        if place >= segment_frames - WARMUP_FRAMES:
            warm = next_state(warm, step, blend)
        yield replace(step, motion=None, output=rounded(state.image, output_of(step)))


def next_state(state: State | None, step: Step, blend: Blend) -> State:
    """Return the next state. An equal input keeps it bit for bit; a cut begins anew."""
    if state is not None and step.same:
        return state
    if state is None or step.motion is None:
        return blend.begin(step)
    return blend.carry(state, step)


def rounded(values: AnyValues, like: AnyImage) -> AnyImage:
    """Round to the nearest level of `like`, clamped."""
    if isinstance(values, Tensor):
        assert isinstance(like, Tensor)
        return on_device.rounded(values, like)
    depth = cv2.CV_8U if like.dtype == np.uint8 else cv2.CV_16U
    return cast(ImageArray, cv2.addWeighted(values, 1, values, 0, 0, dtype=depth))
