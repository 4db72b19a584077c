"""Memory that does not grow with the frame: queues bounded by bytes, motion in parts, RAFT at 512 px."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small

from osediff_video.stages.queues import MOST_QUEUED, QUEUE_BYTES, depth, overlapped, step_bytes
from osediff_video.temporal import flow, raft
from osediff_video.temporal.blend import WARMUP_FRAMES, PixelBlend, next_state, rounded, steadied
from osediff_video.temporal.flow import dis_flow, motion, motion_of_part
from osediff_video.temporal.raft import MOST_SIDE_PX, Raft, fitting_size
from osediff_video.temporal.steps import Step, steps
from osediff_video.types import Frame


def plan(height, width, scale=1, bit_depth=8, alpha=False, temporal="pixel"):
    info = SimpleNamespace(height=height, width=width, bit_depth=bit_depth, alpha=alpha)
    options = SimpleNamespace(temporal=temporal)
    return SimpleNamespace(info=info, height=height * scale, width=width * scale, options=options)


def textured(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width + 16, height + 16), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("temporal", ["pixel", "latent", "off"])
@pytest.mark.parametrize(
    ("height", "width", "scale"), [(180, 320, 4), (1080, 1920, 4), (2160, 3840, 1), (4320, 7680, 1)]
)
def test_no_queue_holds_more_bytes_than_it_may(height, width, scale, temporal, bit_depth):
    sizes = step_bytes(plan(height, width, scale, bit_depth, temporal=temporal), temporal != "off")
    for size in (sizes.frame, sizes.related, sizes.upscaled, sizes.result):
        assert depth(size) * size <= QUEUE_BYTES and depth(size) <= MOST_QUEUED


def test_a_step_is_as_large_as_counted():
    image = textured(64, 96)[:64, :96]
    (_, step) = steps([Frame(image, 0), Frame(np.roll(image, 1, 0), 1)], 0, dis_flow)
    result = step.frame.image.nbytes + step.motion.flow.nbytes + step.motion.confidence.nbytes
    assert result == step_bytes(plan(64, 96), True).related


def test_small_frames_are_worked_on_ahead_and_large_ones_one_at_a_time():
    begun = []

    def items():
        for number in range(4):
            begun.append(number)
            yield number

    reader = iter(overlapped(items(), QUEUE_BYTES + 1))
    assert next(reader) == 0 and begun == [0]
    begun.clear()
    assert list(overlapped(items(), 1000)) == [0, 1, 2, 3]


def test_motion_in_parts_is_the_motion_of_the_whole(monkeypatch):
    """Moved by (3, 5) px: both know it everywhere but at the edge, in parts with leftovers of every size."""
    page = textured(700, 1000)
    before, after = page[3:703, 5:1005], page[:700, :1000]
    whole = motion_of_part(before, after, dis_flow)
    monkeypatch.setattr(flow, "MOST_PX", 100_000)
    monkeypatch.setattr(flow, "PART_PX", 256)
    monkeypatch.setattr(flow, "MARGIN_PX", 64)
    parts = motion(before, after)
    assert parts.flow.shape == whole.flow.shape and parts.confidence.dtype == np.float32
    inner = slice(16, -16), slice(16, -16)
    for result in (whole, parts):
        assert np.abs(result.flow[inner] - (-5, -3)).mean() < 0.1 and result.confidence[inner].mean() > 0.9


def test_up_to_4k_is_looked_at_as_a_whole():
    assert 2160 * 4096 <= flow.MOST_PX < 4320 * 7680


def kept_steps(upscaled, blend, segment_frames):
    """The blend as it is defined: at each start of a segment anew, over the eight steps before it."""
    recent, state = [], None
    for step in upscaled:
        if step.position % segment_frames == 0:
            state = None
            for earlier in recent[-WARMUP_FRAMES:]:
                state = next_state(state, earlier, blend)
        state = next_state(state, step, blend)
        recent.append(step)
        yield rounded(state.image, step.draft.image)


@pytest.mark.parametrize("first", [0, 16, 20])
def test_the_warm_up_on_the_way_is_the_one_of_the_steps_before(first):
    page = textured(48, 64)
    images = [np.ascontiguousarray(page[n % 5 : n % 5 + 48, n % 7 : n % 7 + 64]) for n in range(60)]
    images[30] = images[29]
    related = steps([Frame(i, n, cut=n == 22) for n, i in enumerate(images)], 0, dis_flow)
    ready = [Step(s.position, s.frame, s.motion, s.same, draft=SimpleNamespace(image=s.frame.image)) for s in related]
    tail, blend = ready[first:], PixelBlend(0.6, 0.6)
    for result, expected in zip(steadied(tail, blend, 24), kept_steps(tail, blend, 24), strict=True):
        assert np.array_equal(result.output, expected) and result.motion is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1080, 1920), (288, 512)), ((512, 100), (512, 100)), ((40, 4000), (5, 512)), ((1, 9999), (1, 512))],
)
def test_raft_sees_512_px_a_side_at_most(size, expected):
    assert fitting_size(*size) == expected


class Shifted(torch.nn.Module):
    """In the place of RAFT: one pixel to the right, of what it is given; or no room."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen, self.error = torch.nn.Parameter(torch.zeros(1)), [], None

    def forward(self, first, _, num_flow_updates):  # noqa: ARG002 - as RAFT is called
        self.seen.append(tuple(first.shape[-2:]))
        if self.error:
            raise self.error
        return [torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, *first.shape[-2:])]


def test_a_large_frame_is_made_smaller_and_its_motion_larger_again():
    network = Shifted()
    page = textured(300, 1024)
    result = Raft(network)(page[:300, :1024], page[:300, :1024])
    assert result.shape == (300, 1024, 2) and np.allclose(result, (2, 0)) and max(network.seen[0]) == MOST_SIDE_PX
    small = Raft(network)(page[:128, :136], page[:128, :136])
    assert network.seen[1] == (128, 136) and np.allclose(small, (1, 0))


def test_a_shortage_of_memory_goes_on_with_dis_and_says_so_once():
    network, messages = Shifted(), []
    network.error = RuntimeError("DefaultCPUAllocator: can't allocate memory")
    estimate, page = Raft(network, messages.append), textured(128, 128)
    before, after = page[3:131, 5:133], page[:128, :128]
    for _ in range(2):
        assert np.array_equal(estimate(after, before), dis_flow(after, before))
    assert (
        messages == ["out of memory: motion is estimated by DIS instead of RAFT from here on"]
        and len(network.seen) == 1
    )
    network.error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        Raft(network)(after, before)


def test_the_real_network_takes_what_fits():
    page = textured(640, 200)
    result = raft.Raft(raft_small(weights=None, progress=False).eval())(page[:640, :200], page[:640, :200])
    assert result.shape == (640, 200, 2) and np.isfinite(result).all()
