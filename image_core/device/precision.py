"""Find results that are no numbers once a batch, and made again in float32 where half precision ran over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from image_core.device.memory import attempt
from image_core.errors import NotFiniteError
from image_core.generator import Generator

T = TypeVar("T")
HALVES = (torch.float16, torch.bfloat16)


def is_finite(images: Tensor) -> Tensor:
    """Return whether (B, 3, H, W) holds no NaN, where it is; infinity is NaN by then (`clamped`)."""
    return images.sum().isfinite()  # quicker than to look at each


def check_result(images: Tensor) -> None:
    """Raise NotFiniteError naming the first of (B, 3, H, W) that holds NaN."""
    if is_finite(images):
        return
    finite = torch.isfinite(images)
    if not finite.all():
        raise NotFiniteError(int((~finite.flatten(1).all(1)).nonzero()[0]))


@contextmanager
def in_float32(*modules: nn.Module) -> Iterator[None]:
    """Compute in float32 for a while. The weights come back to their own precision bit for bit."""
    halves = [(p, p.dtype) for module in modules for p in module.parameters() if p.dtype in HALVES]
    try:
        for parameter, _ in halves:
            parameter.data = parameter.data.float()
        yield
    finally:
        for parameter, dtype in halves:
            parameter.data = parameter.data.to(dtype)


def with_more_precision(
    generator: Generator, work: Callable[[], T], report: Callable[[str], None] = lambda _: None
) -> T:
    """Do `work`; when its result is not a number, again with the autoencoder in float32, then with the UNet too.

    Only for this call, so that no result depends on what came before it. report: called with a sentence for each step.
    Raises NotFiniteError when nothing helps.
    """
    try:
        return work()
    except NotFiniteError as error:
        failure = error
    parts: list[nn.Module] = []
    for name, part in (("autoencoder", generator.autoencoder), ("UNet", generator.unet)):
        if not isinstance(part, nn.Module) or not any(p.dtype in HALVES for p in part.parameters()):
            continue
        parts.append(part)
        report(f"half precision overflowed: such images are computed again with the {name} in float32")

        def again() -> T:
            with in_float32(*parts):
                return work()

        try:
            result, enough = attempt(again)
        except NotFiniteError as error:
            failure = error
        else:
            if not enough:
                break
            return result  # type: ignore[return-value]
    raise failure
