"""Read and write one image file: upright RGB of 8 or 16 bit, with alpha, colour profile and EXIF carried along."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from image_core.errors import ImageError, OutputError
from image_core.images import to_eight_bit
from osediff_video.target import put_in_place
from osediff_video.types import UPRIGHT, ImageArray, Orientation

LOSSY_QUALITY = 95
SIXTEEN_BIT = {".png", ".tif", ".tiff"}
ORIENTATION = 0x0112  # EXIF tag; the pixels are turned upright instead
ORIENTATIONS = {
    2: Orientation(False, True, False),
    3: Orientation(False, True, True),
    4: Orientation(False, False, True),
    5: Orientation(True, False, False),
    6: Orientation(True, True, False),
    7: Orientation(True, True, True),
    8: Orientation(True, False, True),
}
"""What the values of that tag ask for."""
EXIF_HEAD = len(b"Exif\0\0")


@dataclass(frozen=True)
class ImageFile:
    """Hold an image and what its file says of it.

    image: (H, W, 3) RGB, uint8 or uint16.
    alpha: (H, W) of the same dtype, or None.
    icc, exif: as they stood in the file.
    """

    image: ImageArray
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    def enlarged(self, image: ImageArray) -> "ImageFile":
        """Return the same file around a larger `image`; alpha grows with it (bicubic)."""
        alpha = self.alpha
        if alpha is not None:
            alpha = cv2.resize(alpha, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
        return replace(self, image=image, alpha=alpha)

    def fitted(self, suffix: str) -> tuple["ImageFile", list[str]]:
        """Return what a file with this suffix can hold, and describe what is lost."""
        suffix, result, lost = suffix.lower(), self, list[str]()
        if self.image.dtype == np.uint16 and suffix not in SIXTEEN_BIT:
            image, alpha = (None if plane is None else to_eight_bit(plane) for plane in (self.image, self.alpha))
            assert image is not None
            result = replace(result, image=image, alpha=alpha)
            lost.append(f"16 bits become 8, {suffix} holds no more; write .png or .tif to keep them")
        if self.alpha is not None and suffix in (".jpg", ".jpeg"):
            result = replace(result, alpha=None)
            lost.append("transparency is lost, JPEG holds none; write .png to keep it")
        return result, lost


def read_image(path: Path) -> ImageFile:
    """Read any image PIL knows; 16-bit PNG and TIFF keep their depth. Raises ImageError."""
    try:
        with Image.open(path) as opened:
            opened.load()
            turn = opened.getexif().get(ORIENTATION, 1)
            upright = ImageOps.exif_transpose(opened)
            deep = opened.mode.startswith("I;16") or _is_deep(path)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: not a readable image: {error}") from error
    exif = upright.getexif()
    exif.pop(ORIENTATION, None)
    facts = ImageFile(np.empty((0, 0, 3), np.uint8), None, upright.info.get("icc_profile"), exif.tobytes() or None)
    if deep:
        return _read_deep(path, facts, ORIENTATIONS.get(turn, UPRIGHT))
    has_alpha = "A" in upright.getbands() or "transparency" in upright.info
    pixels = np.asarray(upright.convert("RGBA" if has_alpha else "RGB"))
    return replace(facts, image=pixels[..., :3], alpha=pixels[..., 3] if has_alpha else None)


def _is_deep(path: Path) -> bool:
    """Return whether a PNG or TIFF holds 16 bits per sample: PIL silently reduces those in colour to 8."""
    if path.suffix.lower() not in SIXTEEN_BIT:
        return False
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    return pixels is not None and pixels.dtype == np.uint16


def _read_deep(path: Path, facts: ImageFile, upright: Orientation) -> ImageFile:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(f"{path}: not a readable 16-bit image")
    pixels = upright(pixels)
    if pixels.ndim == 2:
        return replace(facts, image=np.repeat(pixels[..., None], 3, axis=-1))
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    return replace(facts, image=np.ascontiguousarray(pixels[..., 2::-1]), alpha=alpha)


def write_image(path: Path, image: ImageFile, *, overwrite: bool = False) -> None:
    """Write an image in the format of the suffix of `path`, which appears whole or not at all.

    What it may replace is what `put_in_place` says. Raises OutputError, also for what `fitted` would have changed.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        if image.image.dtype == np.uint16:
            _write_deep(part, image)
        else:
            pixels = image.image if image.alpha is None else np.dstack([image.image, image.alpha])
            Image.fromarray(pixels).save(part, quality=LOSSY_QUALITY, **_profiles(image))
        put_in_place(part, path, overwrite)
    except (OSError, ValueError, cv2.error) as error:
        raise OutputError(f"{path}: cannot write this image: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_deep(path: Path, image: ImageFile) -> None:
    if path.suffix.lower() not in SIXTEEN_BIT:
        raise ValueError(f"a 16-bit image needs one of {' '.join(sorted(SIXTEEN_BIT))}")
    planes = [image.image[..., ::-1]] if image.alpha is None else [image.image[..., ::-1], image.alpha[..., None]]
    pixels = np.concatenate(planes, axis=-1)
    if path.suffix.lower() != ".png" and (image.icc or image.exif):
        raise ValueError("a TIFF of 16 bits cannot carry the colour profile and EXIF of the source here; write .png")
    carried = {cv2.IMAGE_METADATA_EXIF: (image.exif or b"")[EXIF_HEAD:], cv2.IMAGE_METADATA_ICCP: image.icc or b""}
    carried = {kind: data for kind, data in carried.items() if data}
    data = [np.frombuffer(value, np.uint8) for value in carried.values()]
    path.write_bytes(cv2.imencodeWithMetadata(path.suffix, pixels, list(carried), data)[1].tobytes())


def _profiles(image: ImageFile) -> dict[str, Any]:
    present = {"icc_profile": image.icc, "exif": image.exif}
    return {name: value for name, value in present.items() if value}
