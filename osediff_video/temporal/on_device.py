"""Blend on the device where the model's images are: what `blend` and `flow` do with arrays, done with tensors."""

import functools

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from image_core.device.transfer import upload
from image_core.images import white_of
from osediff_video.temporal.flow import Motion, in_pixels

BLUR_REACHES_SIGMAS = 4
"""As OpenCV's blur of floats."""

SUM_EXCESS = 1e-5
"""What OpenCV's blendLinear adds to the sum of its weights."""


def motion_there(coarse: Motion, image: Tensor) -> Tensor:
    """Return a motion on the grid of an `image` and its device: (H, W, 3), pixels right and down, and confidence."""
    height, width = image.shape[:2]
    fields = np.dstack([in_pixels(coarse.flow, height, width), coarse.confidence])
    field = upload([fields], image.device).permute(0, 3, 1, 2)
    return F.interpolate(field, (height, width), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def warped(image: Tensor, motion: Tensor) -> Tensor:
    """Return what `image` (H, W, C) shows at each pixel moved by the motion; see `flow.warp`."""
    height, width = image.shape[:2]
    columns, rows = (torch.arange(side, device=image.device) for side in (width, height))
    x = (2 * (columns + motion[..., 0]) + 1) / width - 1
    y = (2 * (rows[:, None] + motion[..., 1]) + 1) / height - 1
    moved = F.grid_sample(
        image.permute(2, 0, 1)[None], torch.stack((x, y), -1)[None], "bicubic", "border", align_corners=False
    )
    return moved[0].permute(1, 2, 0)


def mixed(current: Tensor, previous: Tensor, motion: Tensor, low: float, high: float, sigma_px: float) -> Tensor:
    """Mix `previous`, moved along the motion, into `current`; see `PixelBlend`. All (H, W, 3) in float32."""
    moved, confidence = warped(previous, motion), motion[..., 2:]
    if low == high:
        return torch.lerp(current, moved, low * confidence) / (1 + SUM_EXCESS)
    difference = moved - current
    return current + confidence * (high * difference + (low - high) * blurred(difference, sigma_px))


def blurred(values: Tensor, sigma_px: float) -> Tensor:
    """Blur (H, W, C) by a Gaussian, the edges mirrored, as OpenCV does."""
    kernel, device = gaussian(sigma_px, values.device), values.device
    rows, columns = (mirrored(side, len(kernel) // 2, device) for side in values.shape[:2])
    planes = values[rows][:, columns].permute(2, 0, 1)[:, None]
    once = F.conv2d(planes, kernel[None, None, :, None])
    return F.conv2d(once, kernel[None, None, None, :])[:, 0].permute(1, 2, 0)


@functools.lru_cache(maxsize=4)
def gaussian(sigma_px: float, device: torch.device) -> Tensor:
    kernel = cv2.getGaussianKernel(2 * round(BLUR_REACHES_SIGMAS * sigma_px) + 1, sigma_px, cv2.CV_32F)
    return upload([kernel[:, 0]], device)[0]


@functools.lru_cache(maxsize=4)
def mirrored(side: int, margin: int, device: torch.device) -> Tensor:
    """Return the places that a side with mirrored margins shows."""
    return upload([np.pad(np.arange(side), margin, mode="reflect")], device)[0]


def rounded(values: Tensor, like: Tensor) -> Tensor:
    """Round to the nearest level of `like`, clamped."""
    return values.round().clamp(0, white_of(like)).to(like.dtype)
