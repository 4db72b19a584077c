"""Move arrays between the CPU and a device, without the CPU waiting where the device can do without it."""

import functools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from image_core.images import ImageArray


def upload(arrays: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Return arrays of one shape and type on a device, stacked, in one transfer."""
    on_cuda = device.type == "cuda"  # copies from pinned memory wait for nothing
    shape, dtype = (len(arrays), *arrays[0].shape), getattr(torch, arrays[0].dtype.name)
    stacked = torch.empty(shape, dtype=dtype, pin_memory=on_cuda)
    for place, array in zip(stacked.numpy(), arrays, strict=True):
        place[...] = array
    return stacked.to(device, non_blocking=on_cuda)


class Landing:
    """Bring an image from a device, if it is there: on CUDA beside what the device computes meanwhile, else at once.

    levels: (H, W, 3) of uint8 or uint16, computed by the calling thread's stream or one that it waited for.
    """

    def __init__(self, levels: ImageArray | Tensor) -> None:
        self.copied: torch.cuda.Event | None = None
        if not (isinstance(levels, Tensor) and levels.device.type == "cuda"):
            self.levels = levels.cpu() if isinstance(levels, Tensor) else levels
            return
        stream = side_stream(levels.device)
        self.levels = torch.empty(levels.shape, dtype=levels.dtype, pin_memory=True)
        self.copied = torch.cuda.Event()
        with STARTING:  # two threads' copies would mix
            stream.wait_stream(torch.cuda.current_stream(levels.device))
            with torch.cuda.stream(stream):
                self.levels.copy_(levels, non_blocking=True)
                levels.record_stream(stream)  # its memory is not used anew before
                self.copied.record(stream)

    def array(self) -> ImageArray:
        """Return the image once it is here."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.levels.numpy() if isinstance(self.levels, Tensor) else self.levels


STARTING = threading.Lock()


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a device that copies run in."""
    return torch.cuda.Stream(device)
