"""A film's prompts: what each shot shows, said once, of its sharpest frame."""

import bisect
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from image_core.files import write_whole
from image_core.images import enlarge, to_tensor
from image_core.prompts.prompter import Prompter
from osediff_video.job import Manifest
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame, Picture

FILE = "prompts.json"


@dataclass(frozen=True)
class ShotPrompt:
    """first: position of the shot's first frame in the film. sharpest: of the frame that was looked at."""

    first: int
    sharpest: int
    words: str


def sharpest_frames(frames: Iterable[Frame]) -> Iterator[tuple[int, int, Picture]]:
    """For each shot the positions of its first and its sharpest frame, and that frame's picture. Holds one picture."""
    first, best = 0, (-1.0, 0)
    picture: Picture | None = None
    for position, frame in enumerate(frames):
        if frame.cut and picture is not None:
            yield first, best[1], picture
            picture = None
        if picture is None:
            first, best = position, (-1.0, position)
        if (found := sharpness(frame.image)) > best[0]:
            best, picture = (found, position), frame.image
    if picture is not None:
        yield first, best[1], picture


def sharpness(image: Picture) -> float:
    """Variance of the Laplacian of the green channel in parts of white: little where motion or focus blurs."""
    green = image[..., 1].astype(np.float32) / np.iinfo(image.dtype).max
    return float(cv2.Laplacian(green, cv2.CV_32F).var())


class ShotTexts:
    """The text of every frame, by its position. shots: in order, the first begins at 0."""

    def __init__(self, shots: list[ShotPrompt], prompter: Prompter) -> None:
        self.shots, self.prompter = shots, prompter
        self.firsts = [shot.first for shot in shots]
        self.last: tuple[str, Tensor] | None = None

    def at(self, position: int) -> Tensor:
        """The embedding (1, L, D) of the prompt of the shot that this frame belongs to."""
        words = self.shots[max(0, bisect.bisect_right(self.firsts, position) - 1)].words
        if self.last is None or self.last[0] != words:
            self.last = words, self.prompter.embedding(words)
        return self.last[1]


def say_shots(frames: Iterable[Frame], prompter: Prompter, height: int, width: int) -> list[ShotPrompt]:
    """Look at every frame, and name what the sharpest of each shot shows, enlarged as the model will see it."""
    return [
        ShotPrompt(first, sharpest, words_for(picture, prompter, height, width))
        for first, sharpest, picture in sharpest_frames(frames)
    ]


def words_for(picture: Picture, prompter: Prompter, height: int, width: int) -> str:
    return prompter.words(to_tensor([enlarge(picture, height, width)]))[0]


def with_texts(related: Iterable[Step], texts: ShotTexts) -> Iterator[Step]:
    """Every step with the text of its shot."""
    for step in related:
        yield replace(step, text=texts.at(step.position))


def with_first_texts(related: Iterable[Step], prompter: Prompter, height: int, width: int) -> Iterator[Step]:
    """The same for frames that come only once: the text of a shot is that of its first frame."""
    text: Tensor | None = None
    for step in related:
        if text is None or step.frame.cut:
            text = prompter.embedding(words_for(step.frame.image, prompter, height, width))
        yield replace(step, text=text)


def fingerprint(manifest: Manifest) -> str:
    """What the prompts of a film depend on: the film and all settings."""
    return hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()


def write_shots(folder: Path, manifest: Manifest, shots: list[ShotPrompt]) -> None:
    """Keep them with the job, so that it goes on without looking again."""
    values = {"of": fingerprint(manifest), "shots": [asdict(shot) for shot in shots]}
    write_whole(folder / FILE, json.dumps(values, indent=1))


def read_shots(folder: Path, manifest: Manifest) -> list[ShotPrompt] | None:
    """What `write_shots` kept for the same film and settings; None when it did not, or it cannot be read."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if values["of"] != fingerprint(manifest):
            return None
        return [ShotPrompt(int(s["first"]), int(s["sharpest"]), str(s["words"])) for s in values["shots"]] or None
    except (OSError, ValueError, KeyError, TypeError):
        return None
