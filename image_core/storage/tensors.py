"""Read tensors from files and put them into modules.

Nothing in a file is ever run, and names and shapes are checked both ways.
"""

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from image_core.errors import CheckpointError

NOT_THE_FILE = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file that it stands for (git lfs pull)",
    b"<": "a web page; use the address that downloads the file (resolve or raw, not blob)",
}
"""How files begin that people have instead of weights."""

AT_ONCE = 1 << 22
"""Numbers that are looked at together: a sum in float32 makes a copy of them."""

Change = Callable[[str, Tensor], Tensor]
"""A tensor's name and its value to the value to use instead."""


class TensorFile(Mapping[str, Tensor]):
    """Open the tensors of a safetensors file by name, each read when it is asked for: memory holds one at a time.

    shapes: known without reading. Raises CheckpointError for a file that is missing, damaged or of another kind.
    """

    def __init__(self, path: Path) -> None:
        refuse_stand_ins(path)
        self.path = path
        try:
            with safe_open(path, "pt") as file:
                self.metadata: dict[str, str] = file.metadata() or {}
                self.shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error

    def __getitem__(self, key: str) -> Tensor:
        """Return a copy: one that stays whole when the file is replaced, and lets go of the mapped file."""
        if key not in self.shapes:
            raise KeyError(key)
        try:
            with safe_open(self.path, "pt") as file:
                return file.get_tensor(key).clone()
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: {key} cannot be read: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def refuse_stand_ins(path: Path) -> None:
    """Raise CheckpointError for what a browser or git leaves in the place of a large file, and for no file at all."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if b"\0" in start:
        return  # no text: "<" is part of a length
    for sign, what in NOT_THE_FILE.items():
        if start.startswith(sign):
            raise CheckpointError(f"{path}: this is not the file itself but {what}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file. Raises CheckpointError for a file that is missing, damaged or of another kind."""
    return dict(TensorFile(path))


def read_torch(path: Path) -> dict[str, Any]:
    """Read the dictionary in a file of `torch.save`, mapped rather than read where its format allows.

    Raises CheckpointError for anything else, for code in the file too.
    """
    refuse_stand_ins(path)
    try:
        # mapped: of the tagger's 5.6 GB only 0.85 are needed
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a malformed pickle raises anything; the library's advice would be to run its code
        raise CheckpointError(
            f"{path}: not a file of weights, or damaged, or with more in it than tensors ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors")
    return content


def read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Read tensors by name from safetensors, or from a torch file, also below "state_dict". Raises CheckpointError."""
    if path.suffix == ".safetensors":
        return TensorFile(path)
    content = read_torch(path)
    content = content.get("state_dict", content)
    return plain_tensors(content, str(path))


def plain_tensors(content: object, where: str, least: int = 1) -> dict[str, Tensor]:
    """Return the tensors among the entries of what a pickle held.

    Raises CheckpointError when there are fewer than `least`, or one is no ordinary tensor: a few bytes can claim to be
    terabytes.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{where}: holds a {type(content).__name__}, expected tensors by name")
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    for key, tensor in tensors.items():
        ordinary = tensor.layout == torch.strided and not tensor.is_complex() and not tensor.is_quantized
        if not ordinary or tensor.device.type != "cpu":
            raise CheckpointError(f"{where}: {key} is no ordinary tensor of numbers")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{where}: {key} claims more numbers than the file holds")
    if len(tensors) < least:
        raise CheckpointError(f"{where}: holds no tensors by name; expected the state dict of a network")
    return tensors


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    dtype: torch.dtype = torch.float32,
    change: Change | None = None,
    device: torch.device | str = "cpu",
    channels_last: bool = False,
) -> None:
    """Put `tensors` in the place of the parameters of `module`, meta ones too, one after the other, as `dtype`.

    change: applied in float32 before a tensor is cast. device, channels_last: where and how it is kept, so that no
    second copy of the whole is made later. Raises CheckpointError naming the first tensor that is missing,
    unexpected, of another shape, or holds anything but finite numbers.
    """
    expected = module.state_dict()
    for key in sorted(expected.keys() ^ tensors.keys()):
        raise CheckpointError(f"{where}: {'missing' if key in expected else 'unexpected'} tensor {key}")
    # of files the shapes are known without reading
    known = getattr(tensors, "shapes", None)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()} if known is None else known
    for key, shape in shapes.items():
        if shape != tuple(expected[key].shape):
            raise CheckpointError(f"{where}: {key} has shape {shape}, expected {tuple(expected[key].shape)}")
    for key in tensors:
        tensor = _usable(tensors[key], expected[key], key, where, dtype, change)
        form = torch.channels_last if channels_last and tensor.ndim == 4 else torch.preserve_format
        _put(module, key, tensor.to(device, memory_format=form))


def _usable(
    tensor: Tensor, expected: Tensor, key: str, where: str, dtype: torch.dtype, change: Change | None
) -> Tensor:
    if not expected.is_floating_point():  # a counter, such as that of batches seen
        return tensor.to(expected.dtype)
    if not tensor.is_floating_point():
        raise CheckpointError(f"{where}: {key} holds {tensor.dtype}, expected floating-point numbers")
    given = tensor if change is None else change(key, tensor)
    result = given.to(dtype)
    check_finite(result, given, f"{where}: {key}")
    return result


def check_finite(result: Tensor, given: Tensor, where: str) -> None:
    """Raise CheckpointError unless all of `result`, cast from `given`, are finite numbers, saying which is to blame."""
    if is_finite(result):
        return
    if is_finite(given):
        kind = str(result.dtype).removeprefix("torch.")
        raise CheckpointError(f"{where} holds numbers too large for {kind}; use --precision fp32")
    raise CheckpointError(
        f"{where} holds values that are no finite numbers (NaN or infinity): damaged, or its training failed; "
        "get the model again"
    )


def is_finite(tensor: Tensor) -> bool:
    """Tell whether every value is a finite number."""
    # a sum is not finite where a summand is not; it may overflow by itself, so that a doubt is looked into
    parts = tensor.detach().reshape(-1).split(AT_ONCE)
    return all(bool(part.sum(dtype=torch.float32).isfinite()) or bool(part.isfinite().all()) for part in parts)


def _put(module: nn.Module, key: str, tensor: Tensor) -> None:
    parent, _, name = key.rpartition(".")
    owner = module.get_submodule(parent)
    old = owner._parameters.get(name)
    if old is None:
        owner._buffers[name] = tensor
    else:
        owner._parameters[name] = nn.Parameter(tensor, requires_grad=old.requires_grad and tensor.is_floating_point())
