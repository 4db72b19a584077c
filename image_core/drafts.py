"""Hold what the model made of an image, or will have made of it."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from torch import Tensor

from image_core.device.transfer import Landing
from image_core.errors import NotFiniteError
from image_core.images import ImageArray, Values

AnyImage = ImageArray | Tensor
"""An image of whole levels, (H, W, 3): an array on a CPU; where the model is on a device, a tensor there."""

AnyValues = Values | Tensor
"""The same of float levels."""


@dataclass(frozen=True)
class Draft:
    """Hold an image the model made and, where it may be revised, its clean latent and that of the image encoded again.

    latent, echo: (1, C, h, w), float32, where the model is. They differ by the error of the round trip through the
    latent. source: what it was made of, (H, W, 3), where the model is on a device: it is not sent there twice.
    """

    image: AnyImage
    latent: Tensor | None = None
    echo: Tensor | None = None
    source: Tensor | None = None

    def landed(self) -> "Draft":
        """Return the same with its image on the CPU, and blended there."""
        return Draft(Landing(self.image).array(), self.latent, self.echo)


class Pending:
    """Hold a draft that a worker makes.

    future: its draft, and whether memory sufficed; without a draft it was no number or too large. again: what makes it
    in another way, told whether memory sufficed.
    """

    def __init__(self, future: "Future[tuple[Draft | None, bool]]", again: Callable[[bool], Draft]) -> None:
        self.future, self.again = future, again
        self.draft: Draft | None = None

    def is_done(self) -> bool:
        return self.draft is not None or self.future.done()

    def result(self, index: int = 0) -> Draft:
        """Return the draft once it is made. index: for errors. Raises NotFiniteError or OutOfMemoryError."""
        if self.draft is None:
            draft, enough = self.future.result()
            try:
                self.draft = self.again(enough) if draft is None else draft
            except NotFiniteError as error:
                raise NotFiniteError(index) from error
        return self.draft
