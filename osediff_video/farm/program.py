"""Identify the program itself, which has to be the same on all machines that make one result."""

import functools
import hashlib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("image_core", "osediff_video")
"""What a worker runs."""


@functools.cache
def identify_program() -> str:
    """Return the version of this program, with the beginning of the SHA-256 of all its code."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    try:
        version = metadata.version("osediff-video")
    except metadata.PackageNotFoundError:  # run from a folder of sources
        version = "unknown"
    return f"{version} ({digest.hexdigest()[:8]})"
