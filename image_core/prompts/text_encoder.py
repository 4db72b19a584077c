"""Run the CLIP text encoder of Stable Diffusion, as OSEDiff uses it, from a folder that may come from anyone.

Only the files named here are read; settings are checked before anything is built, so no name in them goes anywhere.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from image_core.architecture import MAX_WIDTH, first_line
from image_core.errors import CheckpointError
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import Rule, check, either, number, one_of, shown, text, whole
from image_core.storage.tensors import TensorFile, fill

CONFIG: Mapping[str, Rule] = {
    "vocab_size": whole(1, 1_000_000),
    "hidden_size": whole(1, MAX_WIDTH),
    "intermediate_size": whole(1, 4 * MAX_WIDTH),
    "projection_dim": either(one_of(None), whole(0, MAX_WIDTH)),
    "num_hidden_layers": whole(1, 128),
    "num_attention_heads": whole(1, 256),
    "max_position_embeddings": whole(2, 1024),
    "hidden_act": one_of("quick_gelu", "gelu", "gelu_new", "relu", "silu"),
    "layer_norm_eps": number(1e-12, 1),
    "bos_token_id": either(one_of(None), whole(0, 1_000_000)),
    "eos_token_id": either(one_of(None), whole(0, 1_000_000)),
    "pad_token_id": either(one_of(None), whole(0, 1_000_000)),
}
"""Of text_encoder/config.json; what else it says is not used."""

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
WEIGHTS = ("text_encoder/model.safetensors", "text_encoder/model.fp16.safetensors")
LAYOUT = "a diffusers folder of SD 2.1-base holds it"


class TextEncoder:
    """Turn prompts into embeddings.

    folder: holds text_encoder/ and tokenizer/ in the layout of diffusers. holds: whether a file in it is to be used;
    a bundle answers by what it lists. Raises CheckpointError.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        holds: Callable[[str], bool] | None = None,
    ) -> None:
        used = holds or (lambda name: (folder / name).is_file())
        for part in ("text_encoder/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"):
            if not used(part):
                raise CheckpointError(f"{folder / part}: missing; {LAYOUT}")
        weights = next((name for name in WEIGHTS if used(name)), None)
        if weights is None:
            raise CheckpointError(f"{folder / WEIGHTS[0]}: missing; {LAYOUT}. A pickle (.bin) is not read")
        self.folder, self.holds = folder, used
        self.model = build_text_model(folder / "text_encoder/config.json", TensorFile(folder / weights), dtype)
        self.model.to(device).eval().requires_grad_(False)
        self.length = self.model.config.max_position_embeddings
        self.tokenizer = read_tokenizer(folder / "tokenizer", used, self.model.config.vocab_size)

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return token ids (B, 77), padded with the tokenizer's pad token ("!", id 0, in SD 2.1) and cut at 77."""
        found = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return found.input_ids

    @torch.inference_mode()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Return embeddings (B, 77, D), after the final norm. No attention mask: padding is seen, as in training."""
        return self.model(self.tokens(prompts).to(self.model.device)).last_hidden_state

    def tokens_cut(self, prompt: str) -> int:
        """Count the tokens of `prompt` that lie beyond what the model reads."""
        return max(0, len(self.tokenizer(prompt).input_ids) - self.length)

    def save(self, folder: Path, dtype: torch.dtype) -> None:
        """Write text_encoder/, in `dtype`, and the files of tokenizer/ that are used into `folder`."""
        tensors = {key: tensor.to(dtype) for key, tensor in self.model.state_dict().items()}
        self.model.save_pretrained(folder / "text_encoder", state_dict=tensors)
        (folder / "tokenizer").mkdir()
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
            if self.holds(f"tokenizer/{name}"):
                shutil.copyfile(self.folder / "tokenizer" / name, folder / "tokenizer" / name)


def build_text_model(config: Path, tensors: TensorFile, dtype: torch.dtype) -> Any:
    """Build CLIP's text model from checked settings and fill it. Raises CheckpointError."""
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = {key: value for key, value in read_object(config, "settings").items() if key in CONFIG}
    check(settings, CONFIG, str(config), needed=("vocab_size", "hidden_size"))
    if settings.get("num_hidden_layers", 12) > len(tensors):
        raise CheckpointError(f"{config}: speaks of more layers than there are tensors of weights, {len(tensors)}")
    try:
        with torch.device("meta"):
            model = CLIPTextModel(CLIPTextConfig(**settings))
    except Exception as error:  # whatever the library makes of numbers that do not fit together
        raise CheckpointError(f"{config}: its settings do not fit together: {first_line(error)}") from error
    for name, buffer in list(model.named_buffers()):
        if name.endswith("position_ids"):  # counted, not learnt; older files hold it, newer ones do not
            model.get_submodule(name.rpartition(".")[0]).position_ids = torch.arange(buffer.shape[-1])[None]
    fill(model, _Renamed(tensors, set(model.state_dict())), str(tensors.path), dtype)
    return model


class _Renamed(Mapping[str, Tensor]):
    """Rename tensors to the names of the library's version that is here: with `text_model.` before them, or without."""

    def __init__(self, tensors: TensorFile, expected: set[str]) -> None:
        outer = "text_model."
        known = [name for name in tensors if not name.endswith("position_ids") and name != "text_projection.weight"]
        prefixed = any(name.startswith(outer) for name in expected)
        self.tensors = tensors
        self.names = {(outer if prefixed else "") + name.removeprefix(outer): name for name in known}

    def __getitem__(self, key: str) -> Tensor:
        return self.tensors[self.names[key]]

    def __iter__(self) -> Any:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: self.tensors.shapes[name] for key, name in self.names.items()}


def read_tokenizer(folder: Path, used: Callable[[str], bool], vocabulary: int) -> Any:
    """Build CLIP's tokenizer from a vocabulary, merges and special tokens, nothing else. Raises CheckpointError.

    vocabulary: how many tokens the model knows.
    """
    from transformers import CLIPTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would write into the line in which progress is shown
    words = read_object(folder / "vocab.json", "token -> number")
    rule = whole(0, vocabulary - 1)
    for word, index in words.items():
        if not rule.holds(index):
            raise CheckpointError(f"{folder / 'vocab.json'}: {shown(word)} is {shown(index)}, expected {rule.expected}")
    merges = read_merges(folder / "merges.txt", words)
    special = special_tokens(folder, used, words)
    try:
        with tempfile.TemporaryDirectory(prefix="osediff-") as clean:
            for name, content in (("vocab.json", words), ("tokenizer_config.json", special)):
                (Path(clean) / name).write_text(json.dumps(content), encoding="utf-8")
            (Path(clean) / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
            return CLIPTokenizer.from_pretrained(clean, local_files_only=True)
    except Exception as error:  # whatever the library makes of words it does not expect
        raise CheckpointError(f"{folder}: the tokenizer cannot be read: {first_line(error)}") from error


def read_merges(path: Path, words: Mapping[str, Any]) -> str:
    """Return the merges of a byte-pair encoding, one a line. Raises CheckpointError for one that makes no token."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    entries = [line for line in lines if line.strip() and not line.startswith("#version")]
    for line in entries:
        parts = line.split()
        if len(parts) != 2 or not {*parts, "".join(parts)} <= words.keys():
            raise CheckpointError(f"{path}: {shown(line)} is no merge of two tokens of the vocabulary")
    return "\n".join(entries)


def special_tokens(folder: Path, used: Callable[[str], bool], words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the special tokens that two optional files name, the second before the first. Raises CheckpointError."""
    special: dict[str, Any] = {"tokenizer_class": "CLIPTokenizer"}
    rule = text(100)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if not used(f"tokenizer/{name}"):
            continue
        for key, value in read_object(folder / name, "special tokens").items():
            token = value.get("content") if isinstance(value, dict) else value
            if key in SPECIAL and token is not None:
                if not rule.holds(token) or token not in words:
                    raise CheckpointError(f"{folder / name}: {key} is {shown(token)}, expected a token")
                special[key] = token
    return special
