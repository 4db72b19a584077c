"""Choose a video's prompts: what each shot shows, named once, from its sharpest frame."""

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from image_core.images import enlarge, to_tensor
from image_core.prompts.prompter import Prompter
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame, ImageArray

FILE = "prompts.json"


@dataclass(frozen=True)
class ShotPrompt:
    """Hold the prompt of one shot.

    first: position of the shot's first frame in the video.
    sharpest: position of the frame that was tagged.
    """

    first: int
    sharpest: int
    prompt: str


def sharpest_frames(frames: Iterable[Frame]) -> Iterator[tuple[int, int, ImageArray]]:
    """Yield for each shot the positions of its first and its sharpest frame, and that image. Holds one image."""
    first, best = 0, (-1.0, 0)
    image: ImageArray | None = None
    for position, frame in enumerate(frames):
        if frame.cut and image is not None:
            yield first, best[1], image
            image = None
        if image is None:
            first, best = position, (-1.0, position)
        if (score := sharpness(frame.image)) > best[0]:
            best, image = (score, position), frame.image
    if image is not None:
        yield first, best[1], image


def sharpness(image: ImageArray) -> float:
    """Return the variance of the Laplacian of the green channel in parts of white: low where motion or focus blurs."""
    green = image[..., 1].astype(np.float32) / np.iinfo(image.dtype).max
    return float(cv2.Laplacian(green, cv2.CV_32F).var())


class ShotEmbeddings:
    """Look up the embedding of every frame by its position.

    shots: in order; the first begins at 0.
    """

    def __init__(self, shots: list[ShotPrompt], prompter: Prompter) -> None:
        self.shots, self.prompter = shots, prompter
        self.firsts = [shot.first for shot in shots]
        self.last: tuple[str, Tensor] | None = None

    def at(self, position: int) -> Tensor:
        """Return the embedding (1, L, D) of the prompt of the shot that this frame belongs to."""
        prompt = self.shots[max(0, bisect.bisect_right(self.firsts, position) - 1)].prompt
        if self.last is None or self.last[0] != prompt:
            self.last = prompt, self.prompter.embedding(prompt)
        return self.last[1]


def say_shots(frames: Iterable[Frame], prompter: Prompter, height: int, width: int) -> list[ShotPrompt]:
    """Describe every shot by its sharpest frame, enlarged as the model will see it."""
    return [
        ShotPrompt(first, sharpest, prompt_for(image, prompter, height, width))
        for first, sharpest, image in sharpest_frames(frames)
    ]


def prompt_for(image: ImageArray, prompter: Prompter, height: int, width: int) -> str:
    return prompter.describe(to_tensor([enlarge(image, height, width)]))[0]


def with_embeddings(related: Iterable[Step], embeddings: ShotEmbeddings) -> Iterator[Step]:
    """Yield every step with the embedding of its shot's prompt."""
    for step in related:
        yield replace(step, embedding=embeddings.at(step.position))


def with_first_texts(related: Iterable[Step], prompter: Prompter, height: int, width: int) -> Iterator[Step]:
    """Yield every step with the embedding of its shot's first frame, for frames that come only once."""
    embedding: Tensor | None = None
    for step in related:
        if embedding is None or step.frame.cut:
            embedding = prompter.embedding(prompt_for(step.frame.image, prompter, height, width))
        yield replace(step, embedding=embedding)


def write_shots(folder: Path, shots: list[ShotPrompt]) -> None:
    """Store the prompts in the folder of a job, so that resuming does not read the video again. Raises OSError."""
    write_sealed(folder / FILE, {"shots": [asdict(shot) for shot in shots]})


def read_shots(folder: Path) -> list[ShotPrompt] | None:
    """Return what `write_shots` stored in the folder of a job; None when it did not, or it was changed."""
    values = read_sealed(folder / FILE)
    return None if values is None else [ShotPrompt(**shot) for shot in values["shots"]] or None
