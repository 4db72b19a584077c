"""One picture file in and out: upright RGB of 8 or 16 bit, with alpha, colour profile and EXIF carried along."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from image_core.errors import ImageError, OutputError
from osediff_video.types import Picture

LOSSY_QUALITY = 95
SIXTEEN_BIT = {".png", ".tif", ".tiff"}
ORIENTATION = 0x0112  # EXIF tag; the pixels are turned upright instead


@dataclass(frozen=True)
class PictureFile:
    """image: (H, W, 3) RGB. alpha: (H, W) of the same dtype, or None. icc, exif: as they stood in the file."""

    image: Picture
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    def enlarged(self, image: Picture) -> "PictureFile":
        """The same file around a larger `image`; alpha grows with it (bicubic)."""
        alpha = self.alpha
        if alpha is not None:
            alpha = cv2.resize(alpha, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
        return replace(self, image=image, alpha=alpha)


def read_picture(path: Path) -> PictureFile:
    """Read any picture PIL knows; 16-bit PNG and TIFF keep their depth. Raises ImageError."""
    try:
        with Image.open(path) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            deep = opened.mode.startswith("I;16") or _is_deep(path)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: not a readable picture: {error}") from error
    exif = upright.getexif()
    exif.pop(ORIENTATION, None)
    facts = PictureFile(np.empty((0, 0, 3), np.uint8), None, upright.info.get("icc_profile"), exif.tobytes() or None)
    if deep:
        return _read_deep(path, facts)
    has_alpha = "A" in upright.getbands() or "transparency" in upright.info
    pixels = np.asarray(upright.convert("RGBA" if has_alpha else "RGB"))
    return replace(facts, image=pixels[..., :3], alpha=pixels[..., 3] if has_alpha else None)


def _is_deep(path: Path) -> bool:
    """Whether a PNG or TIFF holds 16 bits a sample: PIL reduces those in colour to 8 without a word."""
    if path.suffix.lower() not in SIXTEEN_BIT:
        return False
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels is not None and pixels.dtype == np.uint16


def _read_deep(path: Path, facts: PictureFile) -> PictureFile:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(f"{path}: not a readable 16-bit picture")
    if pixels.ndim == 2:
        return replace(facts, image=np.repeat(pixels[..., None], 3, axis=-1))
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return replace(facts, image=np.ascontiguousarray(pixels[..., 2::-1]), alpha=alpha)


def write_picture(path: Path, picture: PictureFile) -> None:
    """Write by suffix, beside and renamed when whole. Raises OutputError."""
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        if picture.image.dtype == np.uint16:
            _write_deep(part, picture)
        else:
            pixels = picture.image if picture.alpha is None else np.dstack([picture.image, picture.alpha])
            if path.suffix.lower() in (".jpg", ".jpeg"):
                pixels = picture.image  # JPEG holds no alpha
            Image.fromarray(pixels).save(part, quality=LOSSY_QUALITY, **_profiles(picture))
        part.replace(path)
    except (OSError, ValueError, cv2.error) as error:
        raise OutputError(f"{path}: cannot write this picture: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_deep(path: Path, picture: PictureFile) -> None:
    if path.suffix.lower() not in SIXTEEN_BIT:
        raise ValueError(f"a 16-bit picture needs one of {' '.join(sorted(SIXTEEN_BIT))}")
    planes = (
        [picture.image[..., ::-1]] if picture.alpha is None else [picture.image[..., ::-1], picture.alpha[..., None]]
    )
    path.write_bytes(cv2.imencode(path.suffix, np.concatenate(planes, axis=-1))[1].tobytes())


def _profiles(picture: PictureFile) -> dict[str, Any]:
    present = {"icc_profile": picture.icc, "exif": picture.exif}
    return {name: value for name, value in present.items() if value}
