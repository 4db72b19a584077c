"""Plan how much goes through the model at once, and what to do when memory does not suffice."""

import ctypes
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from image_core.autoencoder import LATENT_PX
from image_core.device.free_memory import free_bytes
from image_core.device.gate import Gate
from image_core.device.workers import THREADS, Crew, crew_for
from image_core.errors import OutOfMemoryError
from image_core.options import UpscaleOptions

SMALLEST_TILE_PX = 256
MAX_BATCH = 8  # on a CPU one image for each worker: eight in one batch took 1.8 times as long each
SHARE_OF_FREE = 0.6
SAYS_NO_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "bad_alloc", "not enough memory")
"""How torch's backends say it in a plain RuntimeError: the CPU's, MPS, cuDNN and cuBLAS."""

Size = tuple[int, int]
"""Height and width."""
T = TypeVar("T")


@dataclass(frozen=True)
class Workload:
    """Hold how much goes through the model at once. tile_px: None is whole images."""

    batch: int
    tile_px: int | None

    def pixels(self, height: int, width: int) -> int:
        """Return how many output pixels are worked on at once, for images of this size."""
        return self.batch * (height * width if self.tile_px is None else min(self.tile_px**2, height * width))

    def lighter(self, height: int, width: int) -> "Workload":
        """Return half the batch, then tiles, then smaller tiles. Raises OutOfMemoryError at the end of the ladder."""
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        current = self.tile_px or max(height, width)
        if current <= SMALLEST_TILE_PX:
            raise OutOfMemoryError(
                f"an image of {width} x {height} does not fit in memory even in tiles of {current} px; "
                "close other programs, use a smaller --scale, or --device cpu"
            )
        return replace(self, tile_px=max(SMALLEST_TILE_PX, current // 2 // LATENT_PX * LATENT_PX))


class Planner:
    """Plan the workload of every size of images for one model, for all threads and settings that share it.

    What is free is measured once, so that a plan does not hang on what was done before it. Only a shortage changes
    plans: then nothing that is larger is tried again, at any size.
    bytes_per_pixel: peak memory of the model for each output pixel, in one pass of the UNet. gate: of those who use the
    model. most_workers: as many are fastest here, where that was measured. reported: what has been said once.
    """

    def __init__(self, device: torch.device, bytes_per_pixel: int) -> None:
        self.device, self.bytes_per_pixel = device, bytes_per_pixel
        self.lock, self.gate = threading.RLock(), Gate()
        self.most_workers: int | None = None
        self._room_bytes: int | None = None
        self._most_pixels: int | None = None
        self._fixed: dict[Size, Workload] = {}
        self.reported: set[object] = set()

    @property
    def room_bytes(self) -> int:
        """Return what the model may take."""
        with self.lock:
            if self._room_bytes is None:
                self._room_bytes = int(free_bytes(self.device) * SHARE_OF_FREE)
            return self._room_bytes

    def has_beside(self, needed_bytes: int) -> bool:
        """Return whether this fits into what plans leave free."""
        return needed_bytes <= self.room_bytes * (1 - SHARE_OF_FREE) / SHARE_OF_FREE

    def plan(
        self,
        size: Size,
        options: UpscaleOptions,
        passes: int = 1,
        report: Callable[[str], None] = lambda _: None,
        workers: int = 1,
    ) -> Workload:
        """Return the workload for output images of this size.

        passes: of the UNet for each image, in one batch. workers: how many images a CPU works on at once.
        """
        with self.lock:
            height, width = size
            room_px = self.room_bytes // (self.bytes_per_pixel * passes)
            fitting = room_px // (height * width)
            if size in self._fixed:
                workload = self._fixed[size]
            elif options.tile_px or fitting:
                most = workers if self.device.type == "cpu" else MAX_BATCH
                workload = Workload(options.batch or min(most, max(1, fitting)), options.tile_px)
            else:
                tile_px = max(SMALLEST_TILE_PX, int(room_px**0.5) // LATENT_PX * LATENT_PX)
                workload = Workload(options.batch or 1, tile_px)
                if size not in self.reported:
                    report(f"{width} x {height} is more than fits in memory: working in tiles of {tile_px} px")
                    self.reported.add(size)
            return self._within_most(workload, size)

    def crew(self, size: Size, options: UpscaleOptions, passes: int = 1, threads: int | None = None) -> Crew:
        """Return how many workers a CPU and its memory hold for this size. threads: of each, where a job began so."""
        cores = THREADS.cores()
        if self.device.type != "cpu":
            return Crew(1, threads or cores)
        with self.lock:
            one = replace(self.plan(size, options, passes), batch=1)
            crew = crew_for(cores, self.room_bytes // (self.bytes_per_pixel * passes * one.pixels(*size)), threads)
            return replace(crew, workers=min(crew.workers, self.most_workers or crew.workers))

    def fix(self, size: Size, workload: Workload) -> None:
        """Use this workload for images of this size, such as one that an interrupted job began with."""
        with self.lock:
            self._fixed[size] = workload

    def lower(self, size: Size, failed: Workload) -> Workload:
        """Return what to try after a shortage, which from now on bounds every plan. Raises OutOfMemoryError."""
        with self.lock:
            lighter = failed.lighter(*size)
            pixels = lighter.pixels(*size)
            self._most_pixels = min(pixels, self._most_pixels or pixels)
            return lighter

    def _within_most(self, workload: Workload, size: Size) -> Workload:
        while self._most_pixels is not None and workload.pixels(*size) > self._most_pixels:
            try:
                workload = workload.lighter(*size)
            except OutOfMemoryError:  # the smallest there is; whether it fits will be seen
                break
        return workload


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SAYS_NO_MEMORY)


def give_back_cache(device: torch.device) -> None:
    """Return what torch keeps for later to the device. After an `except`, when nothing holds tensors of the failure."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def give_back_heap() -> None:
    """Return what this process has freed to the system, where the C library keeps it, which glibc does.

    Buffers that live long lie between those that come and go, so that holes of much memory stay in its heaps.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def attempt(work: Callable[[], T]) -> tuple[T | None, bool]:
    """Do `work`; return its result and whether memory sufficed. Any other error is raised."""
    try:
        return work(), True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        # leaving the frame frees what the traceback holds: the tensors of the failed attempt
        return None, False
