"""Make a model between two of one shape: every weight a mean of theirs. Between a faithful and a vivid one, any degree.

Deep network interpolation, https://arxiv.org/abs/1811.10515: it holds for models that were trained from one another.
"""

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from image_core.bundle import Bundle, new_bundle, verify_bundle, write_config
from image_core.errors import CheckpointError
from image_core.options import INT8_FILE
from image_core.storage.tensors import read_safetensors

MIXED = ("autoencoder.safetensors", "unet.safetensors")
ALIKE = ("autoencoder", "timestep", "alpha_bar", "latent_scale", "prompts", "licence")
OF_ONE_MODEL = ("measured", "limits", "history")  # of the card: not true of a mixture


def mix_models(first: Bundle, second: Bundle, share: float, out: Path, card: dict[str, Any] | None = None) -> Bundle:
    """Write the bundle `out`: (1 - share) times the weights of `first` and `share` times those of `second`.

    share: any number; below 0 and above 1 it leads beyond one of them. What is no weight is that of `first`, its card
    too, to which comes what was mixed in. card: more to keep. Raises CheckpointError for models that differ in shape
    or licence, ValueError for a share that is no finite number, OutputError if `out` exists.
    """
    if not math.isfinite(share):
        raise ValueError(f"share must be a finite number, got {share}")
    for bundle in (first, second):
        verify_bundle(bundle)
        if any(name.startswith("lora.") for name in bundle.config.files):
            raise CheckpointError(f"{bundle.path}: has adapters beside its weights; import it again with --merge")
    for key in ALIKE:
        one, other = getattr(first.config, key), getattr(second.config, key)
        if one != other:
            raise CheckpointError(f"cannot mix {first.path} and {second.path}: {key} is {one!r} and {other!r}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_bundle(out) as part:
        for name in first.config.files:  # nothing else: what is not listed was not verified
            if name == INT8_FILE:
                continue  # ranges of other weights: train/int8.py measures those of the mixture
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(first.path / name, part / name)
        for name in MIXED:
            mix_file(first.path / name, second.path / name, share, part / name)
        summary = f"Between {first.config.name} and {second.config.name}: {share:g} of the second."
        added = {"name": second.config.name, "share": share, "card": second.config.card}
        shared = {key: value for key, value in first.config.card.items() if key not in OF_ONE_MODEL}
        merged = shared | {"summary": summary, "mixed_with": added} | (card or {})
        config = write_config(part, dataclasses.replace(first.config, name=out.name, card=merged))
    return Bundle(out, config)


def mix_file(first: Path, second: Path, share: float, out: Path) -> None:
    one, other = read_safetensors(first), read_safetensors(second)
    for name in sorted(one.keys() | other.keys()):
        shapes = [tuple(side[name].shape) if name in side else "missing" for side in (one, other)]
        if shapes[0] != shapes[1]:
            raise CheckpointError(f"cannot mix {first} and {second}: {name} is {shapes[0]} and {shapes[1]}")
    save_file(
        {name: tensor.float().lerp(other[name].float(), share).to(tensor.dtype) for name, tensor in one.items()}, out
    )
