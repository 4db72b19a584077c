"""Run networks as `torch.compile` makes them for one size of images, and as they are where that does not work.

What was compiled once lies in a folder of the user's caches, where later runs find it. On CUDA the calls become CUDA
graphs: never tried on a card.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from torch import Tensor, nn

from image_core.device.memory import is_out_of_memory
from image_core.generator import Generator, dtype_of
from image_core.small_unet import Predicted

Report = Callable[[str], None]


def cache_folder() -> Path:
    """Return where compiled code is kept."""
    return platformdirs.user_cache_path("osediff", appauthor=False) / "compiled"


def compile_networks(generator: Generator, report: Report = lambda _: None) -> Generator:
    """Let encoder, UNet and decoder compile when they are first called. Returns the same generator.

    report: called with a sentence, once, where it does not work.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # warns of a missing CUDA on every CPU
    compilation = Compilation(report)
    autoencoder, unet, forward = generator.autoencoder, generator.unet, generator.unet.forward
    assert isinstance(autoencoder, nn.Module)
    autoencoder.encode = CompiledPart(autoencoder.encode, autoencoder, compilation)  # type: ignore[assignment, method-assign]
    autoencoder.decode = CompiledPart(autoencoder.decode, autoencoder, compilation)  # type: ignore[assignment, method-assign]

    def noise(latent: Tensor, timestep: int, text: Tensor) -> Tensor:
        result: Tensor = forward(latent, timestep, text).sample
        return result

    predict = CompiledPart(noise, unet, compilation)
    unet.forward = lambda latent, timestep, text: Predicted(predict(latent, timestep, text))  # type: ignore[method-assign]
    return generator


class Compilation:
    """Remember for all parts of a model whether compiling works here. report: told once that it does not."""

    def __init__(self, report: Report) -> None:
        self.report, self.works = report, True

    def fail(self, error: Exception) -> None:
        if self.works:
            self.works = False
            reason = str(error).strip().splitlines()
            self.report(
                f"note: the model cannot be compiled here and runs as it is ({(reason or [type(error).__name__])[0]})"
            )


class CompiledPart:
    """Call one function of a network, compiled for the shapes of its inputs.

    Shapes are static: a batch that is smaller than one before it, such as the last, is filled up and cut off again.
    function: of tensors (B, ...) and numbers, to one tensor (B, ...). module: whose weights it reads.
    """

    def __init__(self, function: Callable[..., Tensor], module: nn.Module, compilation: Compilation) -> None:
        self.function, self.module, self.compilation = function, module, compilation
        self.dtype, self.largest = dtype_of(module), {}  # type: tuple[torch.dtype, dict[torch.Size, int]]
        self.compiled: Callable[..., Tensor] | None = None

    def __call__(self, first: Tensor, *more: Tensor | int) -> Tensor:
        # weights that are in float32 for one image, where half precision ran over, are not worth another compilation
        if not self.compilation.works or dtype_of(self.module) != self.dtype:
            return self.function(first, *more)
        try:
            return self.called(first, *more)
        except Exception as error:  # of a compiler, in any of its ways; an error of the model itself comes again
            if is_out_of_memory(error):
                raise
            self.compilation.fail(error)
            return self.function(first, *more)

    def called(self, first: Tensor, *more: Tensor | int) -> Tensor:
        is_cuda, count = first.is_cuda, len(first)
        if self.compiled is None:
            mode = "reduce-overhead" if is_cuda else None
            self.compiled = torch.compile(self.function, dynamic=False, mode=mode)
        most = self.largest[first.shape[1:]] = max(count, self.largest.get(first.shape[1:], 0))
        inputs = [filled_up(value, most) if isinstance(value, Tensor) else value for value in (first, *more)]
        if is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        result = self.compiled(*inputs)[:count]
        return result.clone() if is_cuda else result  # the next call of a graph writes to the same memory


def filled_up(values: Tensor, count: int) -> Tensor:
    """Repeat the last of (B, ...) until there are so many."""
    missing = count - len(values)
    if values.stride(0) == 0:  # one for all, and of the same strides as ever, which a compiled function is made for
        return values[:1].expand(count, *values.shape[1:])
    return values if missing <= 0 else torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])
