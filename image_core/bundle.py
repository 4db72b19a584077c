"""A model as a folder: `bundle.json` and safetensors. Read, write, verify.

bundle.json            what it is, and the sha256 of every other file
unet.json/.safetensors          UNet2DConditionModel: settings, weights
autoencoder.json/.safetensors   AutoencoderKL ("kl") or LiteAutoencoder ("lite")
prompts.safetensors    text embeddings under "0", "1", ..., each (1, L, D); the first is the default
lora.unet.safetensors, lora.vae.safetensors     adapters that were not merged (optional)
text_encoder/, tokenizer/                       for prompts that are not stored (optional)
tagger/                                         says in tags what an image shows (optional)
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from image_core.autoencoder import LiteAutoencoder
from image_core.errors import CheckpointError, OutputError
from image_core.files import sha256
from image_core.generator import KLAutoencoder
from image_core.json_file import read_object
from image_core.lora import LoraWeights, to_tensors

FORMAT_VERSION = 1


@dataclass(frozen=True)
class BundleConfig:
    """What a bundle says of itself. files: relative path -> sha256, filled in by `write_bundle`.

    autoencoder: "kl" or "lite". prompts: the texts whose embeddings are stored. card: provenance, free of form.
    """

    name: str
    autoencoder: str
    timestep: int
    alpha_bar: float
    latent_scale: float
    color_fix: str
    prompts: tuple[str, ...]
    licence: str
    card: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Bundle:
    path: Path
    config: BundleConfig


def write_bundle(
    path: Path,
    config: BundleConfig,
    *,
    autoencoder: nn.Module,
    unet: nn.Module,
    prompts: Sequence[Tensor],
    lora: Mapping[str, LoraWeights] | None = None,
    parts: Sequence[Callable[[Path, torch.dtype], None]] = (),
    dtype: torch.dtype = torch.float32,
) -> Bundle:
    """Write the folder `path`, whole or not at all. Tensors keep their dtype.

    lora: adapters by "unet" and "vae". parts: each writes more of the model, such as a text encoder, into the folder,
    in `dtype`.
    Raises OutputError if `path` exists, ValueError if texts and embeddings differ in number.
    """
    if len(prompts) != len(config.prompts):
        raise ValueError(f"{len(config.prompts)} prompts but {len(prompts)} embeddings")
    with new_bundle(path) as part:
        _write_module(part, "unet", unet, {k: v for k, v in unet.config.items() if not k.startswith("_")})  # type: ignore[union-attr, operator]
        inner = autoencoder.vae if isinstance(autoencoder, KLAutoencoder) else autoencoder
        _write_module(part, "autoencoder", inner, _autoencoder_settings(inner))
        save_file({str(i): p.contiguous() for i, p in enumerate(prompts)}, part / "prompts.safetensors")
        for name, weights in (lora or {}).items():
            save_file(to_tensors(weights), part / f"lora.{name}.safetensors", {"scale": repr(weights.scale)})
        for write in parts:
            write(part, dtype)
        config = write_config(part, config)
    return Bundle(path, config)


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """A folder beside `path` to write into, which becomes `path` when all went well and is gone when not.

    Raises OutputError if `path` exists.
    """
    if path.exists():
        raise OutputError(f"{path}: exists already; remove it or choose another name for the bundle")
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)
        for file in part.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)  # the library and mkdtemp leave them to their owner alone
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_config(folder: Path, config: BundleConfig) -> BundleConfig:
    """Write `bundle.json`, with the hashes of all other files in the folder, and return what it says."""
    contents = (p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / "bundle.json")
    config = dataclasses.replace(config, files={p.relative_to(folder).as_posix(): sha256(p) for p in contents})
    save_config(folder, config)
    return config


def save_config(folder: Path, config: BundleConfig) -> None:
    (folder / "bundle.json").write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n", encoding="utf-8")


def read_card(path: Path) -> dict[str, Any]:
    """What a JSON file adds to the card of a model. Raises CheckpointError for anything but an object."""
    return read_object(path, "a JSON object")


def _autoencoder_settings(autoencoder: nn.Module) -> dict[str, Any]:
    if isinstance(autoencoder, LiteAutoencoder):
        return dataclasses.asdict(autoencoder.config)
    return {k: v for k, v in autoencoder.config.items() if not k.startswith("_")}  # type: ignore[union-attr, operator]


def _write_module(folder: Path, name: str, module: nn.Module, settings: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    # contiguous: channels-last memory is a matter of the machine, not of the file
    save_file({key: value.contiguous() for key, value in module.state_dict().items()}, folder / f"{name}.safetensors")


def read_bundle(path: Path) -> Bundle:
    """Read and check `bundle.json`; the weights are read later. Raises CheckpointError."""
    file = path / "bundle.json"
    if not file.is_file():
        raise CheckpointError(f"{path}: not a bundle, it holds no bundle.json (see osediff models import)")
    values = read_object(file, "an object")
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: format version {values.get('format_version')}, this program reads {FORMAT_VERSION}; "
            "update osediff-video or import the model again"
        )
    known = {f.name for f in dataclasses.fields(BundleConfig)}
    for key in sorted(known ^ values.keys()):
        raise CheckpointError(f"{file}: {'missing' if key in known else 'unknown'} key {key!r}")
    if values["autoencoder"] not in ("kl", "lite"):
        raise CheckpointError(f"{file}: autoencoder must be 'kl' or 'lite', got {values['autoencoder']!r}")
    for name in values["files"]:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise CheckpointError(f"{file}: {name!r} lies outside the bundle")
    return Bundle(path, BundleConfig(**{**values, "prompts": tuple(values["prompts"])}))


def verify_bundle(bundle: Bundle) -> None:
    """Compare every file with its sha256. Raises CheckpointError naming the first that is missing or altered."""
    for name, expected in bundle.config.files.items():
        path = bundle.path / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; import or download the model {bundle.config.name} again")
        if (found := sha256(path)) != expected:
            raise CheckpointError(
                f"{path}: altered or damaged (sha256 {found[:12]}..., expected {expected[:12]}...); "
                f"import or download the model {bundle.config.name} again"
            )
