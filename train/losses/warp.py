"""Measure how much neighbouring outputs disagree where the truth says they show the same."""

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.images import to_images
from osediff_video.temporal.flow import motion


def warp_consistency(outputs: Tensor, truth: Tensor) -> Tensor:
    """Return the mean excess of change along the motion, over that of the truth. Scalar, differentiable in `outputs`.

    outputs, truth: (B, T, 3, H, W) in [-1, 1], T >= 2. Each output is compared with the one before it, moved along the
    flow of the truth, where that flow can be trusted (occlusions have no weight). What the truth itself changes along
    its flow is free: else the loss, like every warping error, would be lowest for a blur. Zero for outputs that move
    exactly with the flow, for the truth, and where nothing can be trusted (a cut). Raises ValueError.
    """
    if outputs.shape != truth.shape or outputs.ndim != 5 or outputs.shape[1] < 2:
        shapes = f"{tuple(outputs.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"expected outputs and truth of one shape (B, T, 3, H, W) with T of at least 2, got {shapes}")
    if outputs.dtype in (torch.bfloat16, torch.float16):  # too coarse for the place of a pixel
        outputs = outputs.float()
    truth = truth.to(outputs.dtype)
    flow, trust = truth_motion(truth)
    excess = (change(outputs, flow).abs() - change(truth, flow).abs()).relu()
    return (trust * excess).sum() / (3 * trust.sum()).clamp_min(1)


@torch.no_grad()
def truth_motion(truth: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate the motion from each frame but the first back to the one before it.

    truth: (B, T, 3, H, W) in [-1, 1]. Returns the flow (B, T - 1, 2, H, W), right and down in pixels, and the trust
    (B, T - 1, 1, H, W) in [0, 1], on the device and in the dtype of `truth`.
    """
    flows, trusts = [], []
    for clip in truth:
        images = to_images(clip, np.uint8)
        for previous, current in itertools.pairwise(images):
            estimate = motion(previous, current)
            flows.append(torch.from_numpy(estimate.flow).permute(2, 0, 1))
            trusts.append(torch.from_numpy(estimate.confidence)[None])
    pairs = truth.shape[0], truth.shape[1] - 1
    flow, trust = (torch.stack(parts).unflatten(0, pairs).to(truth) for parts in (flows, trusts))
    return flow, trust


def change(clips: Tensor, flow: Tensor) -> Tensor:
    """Return each frame minus the one before it, moved along the flow, (B, T - 1, 3, H, W)."""
    previous, current = clips[:, :-1].flatten(0, 1), clips[:, 1:].flatten(0, 1)
    return (current - warp_tensor(previous, flow.flatten(0, 1))).unflatten(0, flow.shape[:2])


def warp_tensor(image: Tensor, flow: Tensor) -> Tensor:
    """Move `image` (N, C, H, W) by `flow` (N, 2, H, W); bicubic, the border repeated."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(*(torch.arange(side, device=flow.device) for side in (height, width)), indexing="ij")
    # grid_sample counts from -1 to 1 between the centres of the outer pixels
    across = (x + flow[:, 0]) * (2 / max(1, width - 1)) - 1
    down = (y + flow[:, 1]) * (2 / max(1, height - 1)) - 1
    grid = torch.stack([across, down], -1).to(image)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=True)
