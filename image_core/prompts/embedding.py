"""Prompts to embeddings: the CLIP text encoder of Stable Diffusion, as OSEDiff uses it, and a cache on the disk."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from image_core.bundle import Bundle
from image_core.errors import CheckpointError
from image_core.files import replacing
from image_core.tensors import read_safetensors

KEPT_PROMPTS = 1000
"""In the cache, 0.3 MB each; the longest unused go first."""


class TextEncoder:
    """folder: holds text_encoder/ and tokenizer/ in the layout of diffusers. Raises CheckpointError."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # it would write into the line in which progress is told
        for part in ("text_encoder/config.json", "tokenizer/vocab.json"):
            if not (folder / part).is_file():
                raise CheckpointError(f"{folder / part}: missing; a diffusers folder of SD 2.1-base holds it")
        self.folder, weights = folder, folder / "text_encoder"
        whole = any((weights / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            model, report = CLIPTextModel.from_pretrained(
                weights, variant=None if whole else "fp16", local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder}: the text encoder cannot be read: {error}") from error
        for key in sorted(map(str, report["missing_keys"])):
            raise CheckpointError(f"{weights}: tensor {key} is missing")
        self.model = model.to(device, dtype).eval().requires_grad_(False)
        self.length = self.model.config.max_position_embeddings

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Token ids (B, 77), padded with the tokenizer's pad token ("!", id 0, in SD 2.1) and cut at 77."""
        found = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return found.input_ids

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (B, 77, D), after the final norm. No attention mask: padding is seen, as in training."""
        return self.model(self.tokens(prompts).to(self.model.device)).last_hidden_state

    def tokens_cut(self, prompt: str) -> int:
        """How many tokens of `prompt` lie beyond what the model reads."""
        return max(0, len(self.tokenizer(prompt).input_ids) - self.length)

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """Write text_encoder/, in `dtype`, and tokenizer/ into `folder`."""
        tensors = {key: tensor.to(dtype) for key, tensor in self.model.state_dict().items()}
        self.model.save_pretrained(folder / "text_encoder", state_dict=tensors)
        shutil.copytree(self.folder / "tokenizer", folder / "tokenizer")


class Prompts:
    """Embeddings of prompts for one model: stored in its bundle, cached on this machine, or made.

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
        """The embedding (1, L, D); None is the bundle's first prompt.

        Raises CheckpointError for a prompt that is not stored when the bundle holds no text encoder.
        """
        stored = self.bundle.config.prompts
        requested = stored[0] if prompt is None else prompt
        if requested in stored:
            embedding = read_safetensors(self.bundle.path / "prompts.safetensors")[str(stored.index(requested))]
        else:
            embedding = self.cached(requested)
        return embedding.to(self.device, self.dtype)

    def cached(self, prompt: str) -> Tensor:
        files = self.bundle.config.files
        if "text_encoder/config.json" not in files:
            raise CheckpointError(
                f"the model {self.bundle.config.name} reads no prompts of its own choice; it knows only "
                + ", ".join(repr(known) for known in self.bundle.config.prompts)
                + "; leave the prompt out, or choose a model that reads text (osediff models list)"
            )
        encoder = {name: digest for name, digest in files.items() if name.startswith(("text_encoder/", "tokenizer/"))}
        key = hashlib.sha256(json.dumps([encoder, prompt], sort_keys=True).encode()).hexdigest()
        path = cache_folder() / f"{key}.safetensors"
        found = read_cached(path) or self.encode(prompt, path)
        embedding, cut = found
        if cut:
            self.report(f"the prompt is too long for the model: its last {cut} tokens were cut ({prompt[:60]}...)")
        return embedding

    def encode(self, prompt: str, path: Path) -> tuple[Tensor, int]:
        self.encoder = self.encoder or TextEncoder(self.bundle.path)
        # always in float32 on the CPU: what is cached must not depend on where it was made
        embedding, cut = self.encoder.encode([prompt]).clone(), self.encoder.tokens_cut(prompt)
        write_cached(path, embedding, cut)
        return embedding, cut


def cache_folder() -> Path:
    """Where embeddings of prompts are kept, by the platform's convention. May be deleted at any time."""
    return platformdirs.user_cache_path("osediff", appauthor=False) / "prompts"


def read_cached(path: Path) -> tuple[Tensor, int] | None:
    """The embedding and how many tokens of its prompt were cut; None when it is not there, or not readable."""
    try:
        with safe_open(path, "pt") as file:
            cut = int((file.metadata() or {})["cut"])
        embedding = read_safetensors(path)["embedding"]
        path.touch()
    except (OSError, KeyError, ValueError, CheckpointError, SafetensorError):
        return None
    return embedding, cut


def write_cached(path: Path, embedding: Tensor, cut: int) -> None:
    """Whole or not at all; a cache that cannot be written is done without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file({"embedding": embedding.contiguous()}, part, {"cut": str(cut)})
        files = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
        for file in files[:-KEPT_PROMPTS]:
            file.unlink(missing_ok=True)
    except OSError:
        return
