"""Provide embeddings of prompts: stored in a bundle, cached on the disk, or made by the text encoder."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from image_core.bundle import Bundle
from image_core.errors import CheckpointError
from image_core.prompts.text_encoder import TextEncoder
from image_core.storage.files import replacing
from image_core.storage.tensors import TensorFile, check_finite

MAX_TOKENS = 1024
KEPT_PROMPTS = 1000
"""In the cache, 0.3 MB each; the longest unused go first."""


class Prompts:
    """Provide embeddings of prompts for one model: stored in its bundle, cached on this machine, or made.

    report: told in a sentence when a prompt is too long for the model.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.bundle, self.device, self.dtype, self.report = bundle, device, dtype, report
        self.encoder: TextEncoder | None = None

    def __call__(self, prompt: str | None) -> Tensor:
        """Return the embedding (1, L, D); None is the bundle's first prompt.

        Raises CheckpointError for a prompt that is not stored when the bundle holds no text encoder.
        """
        stored = self.bundle.config.prompts
        requested = stored[0] if prompt is None else prompt
        if requested in stored:
            embedding = self.stored(stored.index(requested))
        else:
            embedding = self.cached(requested)
            if embedding.shape[-1] != (width := self.stored(0).shape[-1]):
                raise CheckpointError(
                    f"{self.bundle.path}: its text encoder writes {embedding.shape[-1]} numbers a token, its model "
                    f"reads {width}"
                )
        return embedding.to(self.device, self.dtype)

    def stored(self, number: int) -> Tensor:
        """Return the embedding of the bundle's prompt `number`, (1, L, D). Raises CheckpointError."""
        file = TensorFile(self.bundle.file("prompts.safetensors"))
        key, where = str(number), f"{file.path}: embedding {number}"
        shape = file.shapes.get(key)
        if shape is None or len(shape) != 3 or shape[0] != 1 or not 1 <= shape[1] <= MAX_TOKENS:
            raise CheckpointError(f"{where} is {shape or 'missing'}, expected (1, tokens, width)")
        embedding = file[key]
        if not embedding.is_floating_point():
            raise CheckpointError(f"{where} holds {embedding.dtype}, expected floating-point numbers")
        check_finite(embedding, embedding, where)
        return embedding

    def release(self) -> None:
        """Let go of the text encoder, 1.4 GB of Stable Diffusion's; it is read again when a prompt needs it."""
        self.encoder = None

    def cached(self, prompt: str) -> Tensor:
        files = self.bundle.config.files
        if not self.bundle.holds("text_encoder/config.json"):
            raise CheckpointError(
                f"the model {self.bundle.config.name} accepts only its stored prompts: "
                + ", ".join(repr(known) for known in self.bundle.config.prompts)
                + "; leave the prompt out, or choose a model that reads text (osediff models list)"
            )
        encoder = {name: digest for name, digest in files.items() if name.startswith(("text_encoder/", "tokenizer/"))}
        key = hashlib.sha256(json.dumps([encoder, prompt], sort_keys=True).encode()).hexdigest()
        path = cache_folder() / f"{key}.safetensors"
        entry = read_cached(path) or self.encode(prompt, path)
        embedding, cut = entry
        if cut:
            self.report(f"the prompt is too long for the model: its last {cut} tokens were cut ({prompt[:60]}...)")
        return embedding

    def encode(self, prompt: str, path: Path) -> tuple[Tensor, int]:
        self.encoder = self.encoder or TextEncoder(self.bundle.path, holds=self.bundle.holds)
        # always in float32 on the CPU: what is cached must not depend on where it was made
        embedding, cut = self.encoder.encode([prompt]).clone(), self.encoder.tokens_cut(prompt)
        write_cached(path, embedding, cut)
        return embedding, cut


def cache_folder() -> Path:
    """Return the folder of cached embeddings, by the platform's convention. May be deleted at any time."""
    return platformdirs.user_cache_path("osediff", appauthor=False) / "prompts"


def read_cached(path: Path) -> tuple[Tensor, int] | None:
    """Read the embedding and how many tokens of its prompt were cut; None when it is not there, or not readable."""
    try:
        with safe_open(path, "pt") as file:
            cut = int((file.metadata() or {})["cut"])
        embedding = TensorFile(path)["embedding"]
        path.touch()
    except (OSError, KeyError, ValueError, CheckpointError, SafetensorError):
        return None
    return embedding, cut


def write_cached(path: Path, embedding: Tensor, cut: int) -> None:
    """Write an embedding whole or not at all; a cache that cannot be written is done without."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # prompts are private
        with replacing(path) as part:
            save_file({"embedding": embedding.contiguous()}, part, {"cut": str(cut)})
        files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT_PROMPTS]:
            file.unlink(missing_ok=True)
    except OSError:
        return
