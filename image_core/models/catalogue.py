"""Find the known models: a name or a folder becomes a bundle, a bundle becomes an upscaler."""

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import platformdirs

from image_core.bundle import Bundle, check_presence, read_bundle
from image_core.errors import CheckpointError, ModelNotFoundError, OutputError

EMBEDDED = Path(__file__).parent.parent / "weights"
BEST_FIRST = ("sd21", "lite")
"""What `--model auto` tries, in this order."""


def models_folder() -> Path:
    """Return the folder of imported models, by the platform's convention."""
    return platformdirs.user_data_path("osediff", appauthor=False) / "models"


def installed() -> dict[str, Path]:
    """Return name -> folder of every model on this machine; those being written have a name that begins with a dot."""
    folders = [*sorted(EMBEDDED.glob("*/bundle.json")), *sorted(models_folder().glob("[!.]*/bundle.json"))]
    return {path.parent.name: path.parent for path in folders}


def find_model(name: str, report: Callable[[str], None] = lambda _: None) -> Bundle:
    """Return the bundle of a known name, of "auto", or of a path.

    report: called with a sentence for each better model that "auto" cannot take because it is damaged.
    Raises ModelNotFoundError, or CheckpointError for a bad bundle.
    """
    known = installed()
    if name == "auto":
        return best_model(known, report)
    if name in known:
        return read_bundle(known[name])
    if Path(name).is_dir():
        return read_bundle(Path(name))
    raise ModelNotFoundError(
        f"there is no model {name!r} here: expected one of {', '.join(['auto', *known])} or the folder of a bundle "
        "(osediff models list shows what is here and what osediff models pull can download)"
    )


def advised_scale(name: str) -> float:
    """Return the scale that a model advises when none is named. Raises as `find_model`."""
    return find_model(name).config.scale


def best_model(known: Mapping[str, Path], report: Callable[[str], None]) -> Bundle:
    """Return the best model whose files are all there. Raises CheckpointError when there is none."""
    for name in (best for best in BEST_FIRST if best in known):
        try:
            bundle = read_bundle(known[name])
            check_presence(bundle)
        except CheckpointError as error:
            report(f"note: {name} is skipped: {error}")
        else:
            return bundle
    raise CheckpointError(f"{EMBEDDED}: no readable model is left; install osediff-video again")


def remove_model(name: str) -> Path:
    """Delete a model that was pulled or imported, and return where it was.

    Raises ModelNotFoundError for any other name, OutputError for a folder that holds anything but a model.
    """
    folder = models_folder() / name
    if name not in installed() or not (folder / "bundle.json").is_file() or folder.parent != models_folder():
        own = ", ".join(sorted(path.parent.name for path in models_folder().glob("[!.]*/bundle.json"))) or "none"
        raise ModelNotFoundError(f"there is no model {name!r} that could be removed: expected one of yours ({own})")
    if folder.is_symlink():
        raise OutputError(f"{folder}: a link; remove it yourself, and what it leads to if you want")
    foreign = [file for file in folder.rglob("*") if file.is_symlink() or not (file.is_dir() or is_part(file))]
    if foreign:
        raise OutputError(f"{foreign[0]}: is no part of a model; move it away first, then remove the model again")
    aside = folder.with_name(f".osediff-{secrets.token_hex(8)}")
    try:
        folder.rename(aside)  # at once: a model is there or it is not
        shutil.rmtree(aside)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be removed: {error}") from error
    return folder


def is_part(file: Path) -> bool:
    """Tell whether a file may be one of a bundle's."""
    return file.suffix in (".json", ".safetensors", ".txt")
