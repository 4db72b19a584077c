"""Convert between images and tensors, enlarge, pad and crop back.

An image is (H, W, 3) RGB, uint8 or uint16. A tensor is float, (B, 3, H, W), in [-1, 1].
torch is imported where a tensor is made: commands that only read images and sizes start without it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

STRIP_PX = 1 << 16
"""Pixels of a large image that are worked on at once where steps follow each other: what lies between them stays in the
processor's cache, and no second image of float32 is needed."""

ImageArray = NDArray[np.uint8] | NDArray[np.uint16]
Values = NDArray[np.float32]
"""An image between two roundings: (H, W, 3), in the levels of the depth it will have."""


def peak(image: ImageArray) -> int:
    """Return the code value of white: 255 or 65535. Raises ValueError for anything but (H, W, 3) of uint8 or uint16."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected an RGB image (H, W, 3) of uint8 or uint16, got {image.shape} of {image.dtype}")
    return int(np.iinfo(image.dtype).max)


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of an image in parts of about `STRIP_PX` pixels."""
    rows = max(1, STRIP_PX // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def to_eight_bit(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert 16 bit to 8 bit, 0..65535 to 0..255, rounded to nearest; 8-bit images are returned as they are."""
    if plane.dtype == np.uint8:
        return plane
    return ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return height and width of an image enlarged by `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def enlarge(image: ImageArray, height: int, width: int) -> ImageArray:
    """Resize with PIL's bicubic filter, as the published OSEDiff does. Same dtype out; no copy if the size is right."""
    white = peak(image)
    if image.shape[:2] == (height, width):
        return image
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    # PIL has no 16-bit RGB
    return np.clip(np.rint(enlarge_values(image.astype(np.float32), height, width)), 0, white).astype(np.uint16)


def enlarge_plane(plane: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize one channel, (H, W) of uint8 or uint16, with the same filter. Same dtype out."""
    if plane.dtype == np.uint8:
        return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC))
    values = Image.fromarray(plane.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.rint(np.asarray(values)), 0, np.iinfo(plane.dtype).max).astype(plane.dtype)


def enlarge_values(values: Values, height: int, width: int) -> Values:
    """Resize with the same filter in float, one channel at a time; nothing is clipped."""
    channels = [
        Image.fromarray(np.ascontiguousarray(values[..., c])).resize((width, height), Image.Resampling.BICUBIC)
        for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def to_tensor(images: Sequence[ImageArray]) -> "Tensor":
    """Stack images of one size and dtype into a float32 tensor (B, 3, H, W) in [-1, 1], channels last in memory."""
    import torch

    white = peak(images[0])
    values = torch.from_numpy(np.empty((len(images), *images[0].shape), np.float32))  # in large pages, as NumPy does
    for place, image in zip(values, images, strict=True):
        for rows in strips(*image.shape[:2]):
            part = place[rows]
            part.numpy()[...] = image[rows]
            part.mul_(2 / white).sub_(1)
    return values.permute(0, 3, 1, 2)


def white_of(image: "ImageArray | Tensor") -> int:
    """Return the level of white of whole levels, uint8 or uint16: 255 or 65535."""
    return 255 if image.dtype.itemsize == 1 else 65535


def from_levels(levels: "Tensor") -> "Tensor":
    """Do as `to_tensor` with images that are a tensor already, (B, H, W, 3) of uint8 or uint16."""
    return levels.float().mul_(2 / white_of(levels)).sub_(1).permute(0, 3, 1, 2)


def to_levels(tensor: "Tensor", white: int) -> "Tensor":
    """Round to the levels of an image where the tensor is, clamped: (B, H, W, 3) of uint8 or uint16.

    white: 255 or 65535.
    """
    import torch

    values = tensor.detach().permute(0, 2, 3, 1)
    levels = torch.empty(values.shape, dtype=torch.uint8 if white == 255 else torch.uint16, device=values.device)
    on_cpu = values.device.type == "cpu"
    for rows in strips(*values.shape[1:3]) if on_cpu else (slice(None),):
        part = values[:, rows].float().clamp(-1, 1).add_(1).mul_(white / 2).round_()
        if on_cpu:
            np.copyto(levels[:, rows].numpy(), part.numpy(), casting="unsafe")  # six times as fast as torch
        else:
            levels.copy_(part)
    return levels


def to_images(tensor: "Tensor", dtype: np.dtype | type) -> list[ImageArray]:
    """Undo `to_tensor`: clamped and rounded to nearest, never truncated."""
    levels = to_levels(tensor, int(np.iinfo(dtype).max))  # before it leaves the device: a quarter as much
    return list(levels.cpu().numpy())


def values_to_tensor(values: "Values | Tensor", white: int) -> "Tensor":
    """Convert one image of float levels as `to_tensor` does: (1, 3, H, W)."""
    import torch

    return (torch.as_tensor(values)[None] * (2 / white) - 1).permute(0, 3, 1, 2)


def tensor_to_values(tensor: "Tensor", white: int) -> "Tensor":
    """Undo `values_to_tensor`, clamped: (1, 3, H, W) to (H, W, 3), where the tensor is."""
    values = (tensor[0].detach().float().clamp(-1, 1) + 1) * (white / 2)
    return values.permute(1, 2, 0).contiguous()


def pad_to_multiple(tensor: "Tensor", multiple: int, least: int = 0) -> "Tensor":
    """Repeat the bottom row and the right column until both sides divide by `multiple` and are at least `least`.

    least: itself a multiple. Undone by `crop`.
    """
    from torch.nn import functional as F

    height, width = tensor.shape[-2:]
    bottom, right = (max(-side % multiple, least - side) for side in (height, width))
    if not bottom and not right:
        return tensor
    return F.pad(tensor, (0, right, 0, bottom), mode="replicate")


def crop(tensor: "Tensor", height: int, width: int) -> "Tensor":
    """Return the top left `height` x `width` of (B, C, H, W)."""
    return tensor[..., :height, :width]
