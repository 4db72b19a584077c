"""Switch LoRA off, fill it and read it while it is trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from image_core.lora import LoraWeights


@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Make `module` compute what it did before it had adapters. Their weights stay as they are."""
    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def set_adapters(module: nn.Module, weights: LoraWeights) -> None:
    """Fill the adapters of `module`; `weights` must be of exactly its adapted layers, at their scale."""
    tensors = {
        f"{name}.lora_{letter}.default.weight": tensor
        for name, pair in weights.pairs.items()
        for letter, tensor in zip("AB", pair, strict=True)
    }
    module.load_state_dict(tensors, strict=False)
    placed = {key for key in module.state_dict() if ".lora_" in key}
    assert placed == tensors.keys(), "the adapters are on other layers than the weights"


def adapters_below(tensors: dict[str, Tensor], prefix: str) -> LoraWeights:
    """Return the adapters of the module called `prefix` (with its dot) in the state of a larger one."""
    end = ".lora_A.default.weight"
    names = [
        key.removeprefix(prefix).removesuffix(end) for key in tensors if key.startswith(prefix) and key.endswith(end)
    ]
    return LoraWeights(
        {name: (tensors[f"{prefix}{name}{end}"], tensors[f"{prefix}{name}.lora_B.default.weight"]) for name in names}
    )
