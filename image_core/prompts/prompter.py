"""Find, for an image, the text that the model reads beside it: tags, a fixed prompt, or none."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from image_core.bundle import Bundle
from image_core.device.memory import attempt, give_back_cache
from image_core.errors import CheckpointError, OutOfMemoryError
from image_core.images import to_images
from image_core.options import UpscaleOptions
from image_core.prompts.embedding import Prompts
from image_core.prompts.tagger import Tagger, load_tagger
from image_core.prompts.written import Reader, load_reader, said_of


def published_prompt(tags: Sequence[str], prompt: str) -> str:
    """Join words as the published test code writes it; with nothing of the user's it ends in ", ,"."""
    return f"{', '.join(tags)}, {prompt},"


class Prompter:
    """Name what images show. tagger: None where the same text, `fixed`, goes with every image.

    prompt: the user's own words, put behind the tags. reader: what is written is added to the tags.
    """

    def __init__(
        self,
        prompts: Prompts,
        tagger: Tagger | None,
        prompt: str,
        fixed: str | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.prompts, self.tagger, self.prompt, self.fixed, self.reader = prompts, tagger, prompt, fixed, reader

    def describe(self, image: Tensor) -> list[str]:
        """Describe images.

        image: enlarged, (B, 3, H, W) in [-1, 1]. Returns the prompt of each image.
        """
        return [
            published_prompt([*tags, *words], self.prompt)
            for tags, words in zip(self.tags(image), self.written(image), strict=True)
        ]

    def written(self, image: Tensor) -> list[list[str]]:
        """Return what is written in each image, as further tags; nothing without a reader. image: as `describe`."""
        if self.reader is None:
            return [[]] * len(image)
        return [said_of(self.reader.lines(one)) for one in to_images(image, np.uint8)]

    def tags(self, image: Tensor) -> list[list[str]]:
        """Name what each image shows; on the CPU from the first shortage of memory on. Raises OutOfMemoryError."""
        tagger = self.tagger
        assert tagger is not None, "a fixed prompt needs no image"
        tags, enough = attempt(lambda: tagger.tags(image))
        if not enough and (device := tagger.label_embed.device).type != "cpu":
            tagger.to("cpu")
            give_back_cache(device)
            self.prompts.report("out of memory: the tagger runs on the CPU from here on")
            tags, enough = attempt(lambda: tagger.tags(image.cpu()))
        if tags is None:
            raise OutOfMemoryError("the tagger does not fit in memory; close other programs, or use --prompt-mode none")
        return tags

    def embedding(self, prompt: str | None) -> Tensor:
        """Return the embedding (1, L, D), from the disk if it was made before; None is the model's first prompt."""
        return self.prompts(prompt)

    def __call__(self, image: Tensor) -> Tensor:
        """Compute the embeddings that go with images.

        image: enlarged, (B, 3, H, W) in [-1, 1]. Returns the text of each, (B, L, D), or of all, (1, L, D).
        """
        if self.tagger is None:
            return self.prompts(self.fixed)
        return torch.cat([self.prompts(prompt) for prompt in self.describe(image)])


def load_prompter(
    bundle: Bundle,
    options: UpscaleOptions,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    report: Callable[[str], None] = lambda _: None,
) -> Prompter:
    """Load the prompter that the options ask for.

    "auto" is tags where the model has a tagger and reads text, else the fixed prompt.

    report: told in a sentence when a prompt is too long. Raises CheckpointError for tags without a tagger, or a prompt
    that the model cannot read, ModelNotFoundError for text without the extra `ocr`.
    """
    prompts, mode = Prompts(bundle, device, dtype, report), options.prompt_mode
    if mode == "auto":
        mode = "tags" if bundle.has_tagger else "fixed"
    if mode == "none":
        return Prompter(prompts, None, "", "")
    if mode == "fixed":
        return Prompter(prompts, None, "", options.prompt)
    if not bundle.has_tagger:
        raise CheckpointError(
            f"the model {bundle.config.name} has no tagger, so it cannot tell what an image shows; use --prompt-mode "
            "fixed, or make a model that has one: osediff models pull sd21 --tagger, or import with --tagger"
        )
    reader = load_reader() if mode == "tags+text" else None
    # float32 whatever the model runs in: tags must not depend on it
    return Prompter(prompts, load_tagger(bundle.path / "tagger", device), options.prompt or "", reader=reader)


def negative_embedding(prompts: Prompts, options: UpscaleOptions) -> Tensor | None:
    """Return what guidance leads away from, (1, L, D); None at guidance 1. Says what guidance costs.

    Raises CheckpointError for a model to which all prompts are one.
    """
    if options.guidance == 1:
        return None
    config = prompts.bundle.config
    if "text_encoder/config.json" not in config.files and len(config.prompts) < 2:
        raise CheckpointError(
            f"{config.name} reads no prompts, so guidance {options.guidance:g} has nothing to lead away from; "
            "leave it at 1, or choose a model that reads text"
        )
    prompts.report(f"guidance {options.guidance:g}: two passes of the model's UNet for every image instead of one")
    return prompts(options.negative_prompt or "")
