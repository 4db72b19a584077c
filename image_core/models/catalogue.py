"""The known models and where they are found: a name or a folder becomes a bundle, a bundle becomes an upscaler."""

from pathlib import Path

import platformdirs

from image_core.bundle import Bundle, read_bundle
from image_core.errors import ModelNotFoundError

EMBEDDED = Path(__file__).parent.parent / "weights"
BEST_FIRST = ("sd21", "lite")
"""What `--model auto` tries, in this order."""


def models_folder() -> Path:
    """Where imported models are kept, by the platform's convention."""
    return platformdirs.user_data_path("osediff", appauthor=False) / "models"


def installed() -> dict[str, Path]:
    """Name -> folder of every model on this machine."""
    folders = [*sorted(EMBEDDED.glob("*/bundle.json")), *sorted(models_folder().glob("*/bundle.json"))]
    return {path.parent.name: path.parent for path in folders}


def find_model(name: str) -> Bundle:
    """A known name, "auto", or the path of a bundle. Raises ModelNotFoundError, or CheckpointError for a bad bundle."""
    known = installed()
    if name == "auto":
        name = next((best for best in BEST_FIRST if best in known), name)
    if name in known:
        return read_bundle(known[name])
    if Path(name).is_dir():
        return read_bundle(Path(name))
    raise ModelNotFoundError(
        f"there is no model {name!r} here: expected one of {', '.join(['auto', *known])} or the folder of a bundle "
        "(osediff models list shows what is here and what osediff models pull can load)"
    )
