"""Store a model as a folder: `bundle.json` and safetensors. Read, write, verify.

bundle.json            what it is, and the sha256 of every other file
unet.json/.safetensors          UNet2DConditionModel: settings, weights
autoencoder.json/.safetensors   AutoencoderKL ("kl") or LiteAutoencoder ("lite")
prompts.safetensors    text embeddings under "0", "1", ..., each (1, L, D); the first is the default
lora.unet.safetensors, lora.vae.safetensors     adapters that were not merged (optional)
text_encoder/, tokenizer/                       for prompts that are not stored (optional)
tagger/                                         says in tags what an image shows (optional)
tiny_decoder/                                   decodes in place of the VAE (optional, may lie elsewhere)
"""

import dataclasses
import errno
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError

from image_core.errors import CheckpointError, OutputError
from image_core.options import MAX_SCALE, MIN_SCALE, OWN_DECODER, UpscaleOptions
from image_core.storage.files import sha256
from image_core.storage.json_file import read_object
from image_core.storage.json_rules import ANY_OBJECT, Rule, check, list_of, number, one_of, shown, table_of, text, whole

FORMAT_VERSION = 1
TINY_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
"""What the folder of a tiny decoder holds, as diffusers writes it."""

TAGGER_FILES = ("config.json", "model.safetensors", "ram_tag_list.txt", "ram_tag_list_threshold.txt")
"""What the folder of a tagger holds: settings, weights, and one line for each output of its head."""

NEEDED = ("unet.json", "unet.safetensors", "autoencoder.json", "autoencoder.safetensors", "prompts.safetensors")
RULES: Mapping[str, Rule] = {
    "format_version": one_of(FORMAT_VERSION),
    "name": Rule("a text of 1 to 200 characters", lambda value: isinstance(value, str) and 0 < len(value) <= 200),
    "autoencoder": one_of("kl", "lite"),
    "timestep": whole(0, 99_999),
    "alpha_bar": number(1e-6, 1 - 1e-6),  # 0 leaves no signal to scale up, 1 no noise to take away
    "latent_scale": number(1e-4, 1e4),
    "color_fix": one_of("none", "adain", "wavelet"),
    "prompts": list_of(text(10_000), 1, 1000),
    "licence": text(10_000),
    "scale": number(MIN_SCALE, MAX_SCALE),
    "tiny_decoder": Rule("a folder", lambda value: isinstance(value, str) and 0 < len(value) <= 4096),
    "card": ANY_OBJECT,
    "files": table_of(
        text(300),
        Rule("a sha256", lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None),
        10_000,
    ),
}
"""What `bundle.json` may say."""

OPTIONAL = ("scale", "tiny_decoder")
"""What it need not say, and earlier versions do not know."""


@dataclass(frozen=True)
class BundleConfig:
    """Hold what a bundle says of itself. files: relative path -> sha256, filled in by `write_bundle`.

    autoencoder: "kl" or "lite". scale: of the output, when the user names none.
    prompts: the texts whose embeddings are stored. card: provenance, free of form.
    tiny_decoder: folder of the AutoencoderTiny that decodes, within the bundle or absolute; None is the VAE's own.
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
    scale: float = UpscaleOptions.scale
    tiny_decoder: str | None = None


@dataclass(frozen=True)
class Bundle:
    """Hold a folder and what it says of itself, checked."""

    path: Path
    config: BundleConfig

    def holds(self, name: str) -> bool:
        """Tell whether the model has this file: what `bundle.json` does not list is not part of it."""
        return name in self.config.files

    @property
    def has_tagger(self) -> bool:
        """Return whether every file of a tagger is listed."""
        return all(self.holds(f"tagger/{name}") for name in TAGGER_FILES)

    @property
    def tiny_decoder(self) -> Path | None:
        """Return the folder of the AutoencoderTiny that decodes; None is the VAE's own decoder."""
        return None if self.config.tiny_decoder is None else self.path / self.config.tiny_decoder

    def chosen_tiny_decoder(self, asked: str | None) -> Path | None:
        """Return the folder of the tiny decoder that stands in, which an option may name in place of the model."""
        if asked is None:
            return self.tiny_decoder
        return None if asked == OWN_DECODER else Path(asked)

    def file(self, name: str) -> Path:
        """Return the path of a file that is listed. Raises CheckpointError for any other."""
        if not self.holds(name):
            raise CheckpointError(f"{self.path / 'bundle.json'}: does not list {name}; only files with a hash are used")
        return self.path / name


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` to write into, which becomes `path` when all went well and is gone when not.

    Raises OutputError if `path` exists or the disk does not take it.
    """
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path}: exists already; remove it or choose another name for the bundle")
    part = path.with_name(f".osediff-{secrets.token_hex(8)}")
    try:
        part.mkdir()
        yield part
        mode = part.stat().st_mode & 0o777  # as the user's umask has it; the library leaves files to their owner alone
        for file in part.rglob("*"):
            file.chmod(mode if file.is_dir() else mode & 0o666)
        part.rename(path)
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "no disk space is left" if full or "No space left" in str(error) else str(error)
        raise OutputError(f"{path}: the model cannot be written: {reason}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_config(folder: Path, config: BundleConfig) -> BundleConfig:
    """Write `bundle.json`, with the hashes of all other files in the folder, and return what it says."""
    contents = (p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / "bundle.json")
    config = dataclasses.replace(config, files={p.relative_to(folder).as_posix(): sha256(p) for p in contents})
    save_config(folder, config)
    return config


def save_config(folder: Path, config: BundleConfig) -> None:
    values = dataclasses.asdict(config)
    for name in OPTIONAL:
        if values[name] == BundleConfig.__dataclass_fields__[name].default:
            del values[name]
    (folder / "bundle.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def read_card(path: Path) -> dict[str, Any]:
    """Read what a JSON file adds to the card of a model. Raises CheckpointError for anything but an object."""
    return read_object(path, "a JSON object")


def read_bundle(path: Path) -> Bundle:
    """Read and check `bundle.json`; the weights are read later. Raises CheckpointError."""
    file = path / "bundle.json"
    if not file.is_file():
        raise CheckpointError(f"{path}: not a bundle, it holds no bundle.json (see osediff models import)")
    values = read_object(file, "an object")
    if values.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{file}: format version {shown(values.get('format_version'))}, this program reads {FORMAT_VERSION}; "
            "update osediff-video or import the model again"
        )
    check(values, RULES, str(file), needed=[key for key in RULES if key not in OPTIONAL])
    for name in values["files"]:
        if not is_inside(name):
            raise CheckpointError(f"{file}: {name!r} lies outside the bundle")
    for name in NEEDED:
        if name not in values["files"]:
            raise CheckpointError(f"{file}: does not list {name}, which every model has")
    if (tiny := values.get("tiny_decoder")) is not None:
        _check_tiny(tiny, values, file)
    return Bundle(path, BundleConfig(**{**values, "prompts": tuple(values["prompts"])}))


def _check_tiny(tiny: str, values: Mapping[str, Any], file: Path) -> None:
    """Refuse a tiny decoder that is no part of the model, and one for a model that needs none."""
    if values["autoencoder"] != "kl":
        raise CheckpointError(f"{file}: names a tiny_decoder, but the model has a small decoder of its own")
    if Path(tiny).is_absolute():
        return  # looked at when it is read; its weights are part of what identifies the model
    if not is_inside(tiny):
        raise CheckpointError(f"{file}: its tiny_decoder {tiny!r} lies outside the bundle; name it by an absolute path")
    for name in TINY_FILES:
        if (part := (PurePosixPath(tiny) / name).as_posix()) not in values["files"]:
            raise CheckpointError(f"{file}: does not list {part}, which its tiny_decoder needs")


def is_inside(name: str) -> bool:
    """Tell whether a file's name stays within its folder, on every system."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and not set(name) & set("\\:\0")


def check_presence(bundle: Bundle) -> int:
    """Return how many bytes the files of a bundle take. Raises CheckpointError naming the first that is missing."""
    size = 0
    for name in bundle.config.files:
        path = bundle.path / name
        try:
            size += path.stat().st_size
        except OSError as error:
            raise CheckpointError(
                f"{path}: missing; import or download the model {bundle.config.name} again"
            ) from error
    return size


def verify_bundle(bundle: Bundle) -> None:
    """Compare every file with its sha256. Raises CheckpointError naming the first that is missing or altered."""
    for name, expected in bundle.config.files.items():
        path = bundle.path / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing; import or download the model {bundle.config.name} again")
        try:
            actual = sha256(path)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read: {error}") from error
        if actual != expected:
            raise CheckpointError(
                f"{path}: altered or damaged (sha256 {actual[:12]}..., expected {expected[:12]}...); "
                f"import or download the model {bundle.config.name} again"
            )
