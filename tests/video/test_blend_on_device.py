"""The chain on a device: its blend is that of arrays within a level (tensors of the CPU stand in); it never idles."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from image_core.device.memory import Workload
from image_core.drafts import Draft
from osediff_video.stages.drafting import upscale_steps
from osediff_video.temporal.blend import PixelBlend, State, guide_of, next_state, rounded
from osediff_video.temporal.flow import Motion
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame

GOALS = [((45, 80), (180, 320)), ((45, 33), (131, 97)), ((64, 48), (64, 48)), ((5, 3), (10, 6))]


def image_of(draw, size, dtype):
    white = np.iinfo(dtype).max
    smooth = cv2.GaussianBlur(draw.uniform(0, white, (*size, 3)).astype(np.float32), (0, 0), 0.7)
    return np.clip((smooth - white / 2) * 2 + white / 2, 0, white).astype(dtype)  # black, white and between


def a_step(seed, size, goal, dtype):
    """A frame with a motion that reaches beyond its edges, and is not everywhere certain."""
    draw = np.random.default_rng(seed)
    flow = 8 * cv2.GaussianBlur(draw.normal(0, 4, (*size, 2)).astype(np.float32), (0, 0), 3)
    motion = Motion(flow, draw.uniform(0, 1, size).astype(np.float32))
    return Step(1, Frame(image_of(draw, size, dtype), 1), motion, draft=Draft(image_of(draw, goal, dtype)))


def there(step):
    source, image = (torch.from_numpy(image) for image in (step.frame.image, step.draft.image))
    return replace(step, draft=Draft(image, source=source))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("blend", [PixelBlend(0.6, 0.6), PixelBlend(0.85, 0.3)])
@pytest.mark.parametrize(("size", "goal"), GOALS)
def test_tensors_are_blended_as_arrays_are(size, goal, blend, dtype):
    here = state = None
    for seed in range(4):  # differences would add up
        step = replace(a_step(seed, size, goal, dtype), same=seed == 2)
        state, here = next_state(state, there(step), blend), next_state(here, step, blend)
        result, expected = rounded(state.image, there(step).draft.image), rounded(here.image, step.draft.image)
        apart = np.abs(result.numpy().astype(int) - expected) * 255 / np.iinfo(dtype).max
        assert (apart > 1).mean() <= 1e-3 and apart.mean() < 0.01
    assert (expected != step.draft.image).any()  # something was mixed


def test_the_guide_is_what_the_model_saw():
    step = a_step(0, (45, 33), (131, 97), np.uint8)
    assert isinstance(State(guide_of(there(step))).image, torch.Tensor)
    assert np.array_equal(guide_of(there(step)).numpy(), guide_of(step))


@pytest.mark.parametrize(("kind", "order"), [("cuda", "b b w b w w"), ("cpu", "b w b w b w")])
def test_a_device_has_the_next_batch_before_the_last_is_waited_for(kind, order):
    seen = []

    class Model(SimpleNamespace):
        def begin_batch(self, images, *_):
            seen.append("b")

            def wait():
                seen.append("w")
                return [Draft(image) for image in images]

            return wait

    model = Model(
        device=torch.device(kind), workers=SimpleNamespace(count=1), prompter=None,
        planner=SimpleNamespace(has_beside=lambda _: True), workload_for=lambda *_: Workload(2, None),
    )  # fmt: skip
    treatments = SimpleNamespace(usual=SimpleNamespace(upscaler=model), at=lambda _: SimpleNamespace(upscaler=model))
    images = [np.full((4, 6, 3), level, np.uint8) for level in (0, 1, 2, 2, 2, 5)]
    steps = [Step(n, Frame(image, n), None, same=n in (3, 4)) for n, image in enumerate(images)]
    plan = SimpleNamespace(height=4, width=6, segment_frames=96)
    results = list(upscale_steps(steps, plan, treatments, revisable=False))
    assert [step.draft.image.max() for step in results] == [0, 1, 2, 2, 2, 5]
    assert seen == order.split()
