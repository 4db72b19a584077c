"""Tensors from files, and into modules: nothing in a file is ever run, and names and shapes are checked both ways."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from image_core.errors import CheckpointError

NOT_THE_FILE = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file that it stands for (git lfs pull)",
    b"<": "a web page; use the address that downloads the file (resolve or raw, not blob)",
}
"""How files begin that people have instead of weights."""


def refuse_stand_ins(path: Path) -> None:
    """Raises CheckpointError for what a browser or git leaves in the place of a large file."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64).lstrip()
        for sign, what in NOT_THE_FILE.items():
            if start.startswith(sign):
                raise CheckpointError(f"{path}: this is not the file itself but {what}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Raises CheckpointError for a file that is missing, damaged or of another kind."""
    refuse_stand_ins(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error


def read_torch(path: Path) -> dict[str, Any]:
    """The dictionary in a file of `torch.save`, mapped rather than read where its format allows.

    Raises CheckpointError for anything else, for code in the file too.
    """
    refuse_stand_ins(path)
    try:
        # mapped: of the tagger's 5.6 GB only 0.85 are needed
        mmap = zipfile.is_zipfile(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: not a file of weights, or damaged, or with more in it than tensors") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: truncated or not a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors by name from safetensors, or from a torch file, there also below "state_dict". Raises CheckpointError."""
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    content = read_torch(path)
    content = content.get("state_dict", content)
    tensors = {key: tensor for key, tensor in content.items() if isinstance(tensor, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors by name; expected the state dict of a network")
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put `tensors` in the place of the parameters of `module`, meta ones too, as float32.

    Raises CheckpointError naming the first tensor that is missing, unexpected or of another shape.
    """
    expected = module.state_dict()
    for key in sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"{where}: {'missing' if key in expected else 'unexpected'} tensor {key}")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise CheckpointError(
                f"{where}: {key} has shape {tuple(tensor.shape)}, expected {tuple(expected[key].shape)}"
            )
    module.load_state_dict({key: tensor.float() for key, tensor in tensors.items()}, assign=True)
