"""Read and write one image file: upright RGB of 8 or 16 bit, with everything its file says carried along."""

import os
import secrets
import struct
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from image_core.errors import ImageError, OutputError
from image_core.images import enlarge_plane, to_eight_bit
from osediff_video.images import profiles
from osediff_video.images.decode import decode, first_line
from osediff_video.images.edges import extend_colors
from osediff_video.images.encode import JPEG_BLOCK, SIXTEEN_BIT, encode
from osediff_video.images.metadata import Metadata, resized_exif
from osediff_video.target import put_in_place
from osediff_video.types import ImageArray, Plane

JPEG, TIFF = (".jpg", ".jpeg"), (".tif", ".tiff")
OPAQUE = (*JPEG, ".bmp")
"""Formats without transparency: a BMP has bits for it that hardly a program reads."""
NO_GREY = (".webp", ".avif")


@dataclass(frozen=True)
class ImageFile:
    """Hold an image and what its file says of it.

    image: (H, W, 3) RGB, uint8 or uint16.
    alpha: (H, W) of the same dtype, or None.
    icc, exif: as they stood in the file, the orientation taken out.
    is_grey: the file has one channel for colour, and so has the result; those of `image` are then alike.
    metadata: resolution, XMP, texts.
    notes: sentences on what differs from the file.
    """

    image: ImageArray
    alpha: Plane | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    is_grey: bool = False
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    @property
    def model_input(self) -> ImageArray:
        """Return the image with its colours extended under what is transparent, so that none bleed out from there."""
        return extend_colors(self.image, self.alpha)

    def enlarged(self, image: ImageArray) -> "ImageFile":
        """Return the same file around a larger `image`; alpha (bicubic) and resolution grow with it."""
        height, width = image.shape[:2]
        alpha = None if self.alpha is None else enlarge_plane(self.alpha, height, width)
        metadata = self.metadata.scaled(width / self.image.shape[1], height / self.image.shape[0])
        exif = resized_exif(self.exif, width, height, metadata.dpi) if self.exif else None
        return replace(self, image=image, alpha=alpha, metadata=metadata, exif=exif)

    def in_srgb(self) -> "ImageFile":
        """Return the image converted to sRGB, without a profile, for what can carry none."""
        if self.icc is None:
            return self
        image = profiles.to_srgb(self.image, self.icc)
        return replace(self, image=image, icc=None, metadata=replace(self.metadata, colors=()))

    def fitted(self, suffix: str) -> tuple["ImageFile", list[str]]:
        """Return what a file with this suffix can hold, and describe what is lost."""
        suffix, result, lost = suffix.lower(), self, list[str]()
        # 16-bit grey with alpha in a TIFF is read by hardly a program
        rare = suffix in TIFF and result.alpha is not None and result.image.dtype == np.uint16
        if result.is_grey and (suffix in NO_GREY or rare):
            result = replace(result.in_srgb(), is_grey=False)
        if result.icc is not None and suffix == ".bmp":
            lost += [] if profiles.is_srgb(result.icc) else ["colours are converted to sRGB, .bmp holds no profile"]
            result = result.in_srgb()
        if result.image.dtype == np.uint16 and suffix not in SIXTEEN_BIT:
            alpha = None if result.alpha is None else to_eight_bit(result.alpha)
            result = replace(result, image=to_eight_bit(result.image), alpha=alpha)
            lost.append(f"16 bits become 8, {suffix} holds no more; write .png or .tif to keep them")
        if result.alpha is not None and suffix in OPAQUE:
            result = replace(result, alpha=None)
            kind = "JPEG holds none" if suffix in JPEG else "hardly a program reads it in a BMP"
            lost.append(f"transparency is lost, {kind}; write .png to keep it")
        result, unheld = result._without_unheld(suffix)
        if unheld:
            advice = "" if suffix == ".png" else f", {suffix} holds none; write .png to keep what it can hold"
            lost.append(f"lost: {', '.join(unheld)}{advice}")
        return result, lost

    def _without_unheld(self, suffix: str) -> tuple["ImageFile", list[str]]:
        """Return the file without the metadata that the format cannot hold, and the names of those."""
        metadata, exif, names = self.metadata, self.exif, list(self.metadata.others)
        room = JPEG_BLOCK - 64 if suffix in JPEG else 2**31
        if exif and (suffix == ".bmp" or len(exif) > room):
            exif, names = None, [*names, "EXIF"]
        if metadata.xmp and (suffix == ".bmp" or len(metadata.xmp) > room):
            metadata, names = replace(metadata, xmp=None), [*names, "XMP"]
        if suffix != ".png":
            names += [f"text ({', '.join(metadata.keywords()[:5])})"] if metadata.texts else []
            names += [f"PNG's {name}" for name in metadata.color_names()]
            metadata = replace(metadata, texts=(), colors=())
            if metadata.comment and (suffix not in JPEG or len(metadata.comment) > room):
                metadata, names = replace(metadata, comment=None), [*names, "comment"]
        return replace(self, metadata=metadata, exif=exif), names


def read_image(path: Path) -> ImageFile:
    """Read any image PIL knows, by its content; PNG, TIFF, PGM and PPM keep 16 bits. Raises ImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow mutters of malformed metadata
            result = decode(path.read_bytes())
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except MemoryError as error:
        raise ImageError(f"{path}: not enough memory for this image ({error or 'none is left'})") from error
    except Exception as error:  # decoders of malformed files raise what they happen to meet
        raise ImageError(f"{path}: not a readable image: {first_line(error)}") from error
    color: NDArray[Any]
    color, is_grey = result.color, result.color.ndim == 2
    if not color.size:
        raise ImageError(f"{path}: not a readable image: it has no pixels")
    image = cast(ImageArray, np.repeat(color[..., None], 3, axis=-1) if is_grey else np.ascontiguousarray(color))
    alpha = None if result.alpha is None else cast(Plane, np.ascontiguousarray(result.alpha))
    notes = tuple(dict.fromkeys(result.notes))
    return ImageFile(image, alpha, result.icc, result.exif, is_grey, result.metadata, notes)


def write_image(path: Path, image: ImageFile, *, overwrite: bool = False) -> None:
    """Write an image in the format of the suffix of `path`, which appears whole or not at all.

    What it may replace is what `put_in_place` says. Raises OutputError, also for what `fitted` would have changed.
    """
    part = path.with_name(f".osediff.{secrets.token_hex(8)}.part")  # not longer than the name itself may be
    try:
        with part.open("wb") as file:
            file.write(encode(pixels_of(image), path.suffix, image.icc, image.exif, image.metadata))
            file.flush()
            os.fsync(file.fileno())
        put_in_place(part, path, overwrite)
    except (OSError, ValueError, RuntimeError, SystemError, struct.error, KeyError) as error:
        raise OutputError(f"{path}: cannot write this image: {first_line(error)}") from error
    except MemoryError as error:
        raise OutputError(f"{path}: not enough memory to write this image") from error
    finally:
        part.unlink(missing_ok=True)


def pixels_of(image: ImageFile) -> NDArray[Any]:
    """Return (H, W, C) as it is stored: one to four channels."""
    color: NDArray[Any] = image.image
    if image.is_grey:
        color = np.rint(color.mean(axis=-1, keepdims=True, dtype=np.float32)).astype(color.dtype)
    return color if image.alpha is None else np.concatenate([color, image.alpha[..., None]], axis=-1)
