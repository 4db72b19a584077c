"""Prompts to embeddings: the CLIP text encoder of Stable Diffusion 2.1, used as OSEDiff uses it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from image_core.errors import CheckpointError


class TextEncoder:
    """folder: holds text_encoder/ and tokenizer/ in the layout of diffusers. Raises CheckpointError."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        from transformers import CLIPTextModel, CLIPTokenizer

        for part in ("text_encoder/config.json", "tokenizer/vocab.json"):
            if not (folder / part).is_file():
                raise CheckpointError(f"{folder / part}: missing; a diffusers folder of SD 2.1-base holds it")
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            model = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: the text encoder cannot be read: {error}") from error
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
