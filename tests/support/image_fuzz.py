"""Mutate small images of every format: read and written back right, or one clear error, always."""

import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from image_core.errors import ImageError, OutputError
from osediff_video.images import png, tiff
from osediff_video.images.image_file import ImageFile, read_image, write_image
from tests.support.fuzz import mutate
from tests.support.media_files import sample_image


def seeds() -> dict[str, bytes]:
    """Small images of every format that is read, by name; some with metadata."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    alpha = np.dstack([sample_image(0), sample_image(1)[..., 0]])
    deep = sample_image(0, dtype=np.uint16)
    made = {
        "deep.png": png.encode_deep(deep),
        "grey.png": png.encode_deep(deep[..., :1]),
        "deep.tif": tiff.encode(deep, exif=exif.tobytes(), dpi=(300, 300)),
        "deep.ppm": b"P6 64 48 65535\n" + deep.astype(">u2").tobytes(),
        "float.tif": saved((deep[..., 0] / 65535).astype(np.float32), "TIFF"),
    }
    for name, pixels, kind, options in [
        ("rgb.png", sample_image(0), "PNG", {"exif": exif, "dpi": (300, 300)}),
        ("alpha.png", alpha, "PNG", {}),
        ("rgb.jpg", sample_image(0), "JPEG", {"exif": exif, "dpi": (300, 300), "comment": b"note"}),
        ("grey.jpg", sample_image(0)[..., 0], "JPEG", {}),
        ("packed.tif", alpha, "TIFF", {"compression": "tiff_lzw"}),
        ("plain.tif", sample_image(0), "TIFF", {}),
        ("lossless.webp", alpha, "WEBP", {"lossless": True, "exif": exif}),
        ("lossy.webp", sample_image(0), "WEBP", {}),
        ("still.avif", sample_image(0), "AVIF", {"exif": exif}),
        ("map.bmp", sample_image(0), "BMP", {}),
        ("map.tga", alpha, "TGA", {}),
        ("map.gif", sample_image(0), "GIF", {}),
        ("map.jp2", sample_image(0), "JPEG2000", {}),
    ]:
        made[name] = saved(pixels, kind, **options)
    return made


def saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def fuzz_images(count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Return outcomes by kind, and a line for every image that was treated wrongly."""
    draw, outcomes, wrong = random.Random(seed), Counter[str](), list[str]()
    data = seeds()
    names = list(data)
    originals = {}
    for name in names:
        (folder / name).write_bytes(data[name])
        originals[name] = read_image(folder / name).image
    for number in range(count):
        name, other = names[number % len(names)], draw.choice(names)
        source, target = folder / f"mutated_{name}", folder / "result.png"
        source.write_bytes(mutate(data[name], data[other], draw))
        target.unlink(missing_ok=True)
        try:
            file = read_image(source)
            write_image(target, file.fitted(".png")[0])
            problem = difference(file, read_image(target), [originals[name], originals[other]], source)
            outcomes["done"] += 1
        except (ImageError, OutputError) as error:
            outcomes["refused"] += 1
            problem = "a message of several lines" if "\n" in str(error) else ""
        except Exception as error:  # the point of the exercise
            outcomes["traceback"] += 1
            problem = f"{type(error).__name__}: {error}"
        if problem:
            wrong.append(f"{number} {name}: {problem}")
    return outcomes, wrong


def difference(file: ImageFile, again: ImageFile, originals: list[np.ndarray], source: Path) -> str:
    """Return what is wrong with a result: not what was read, or, for checksummed PNG, not an image that was written."""
    if not np.array_equal(file.image, again.image):
        return "what is written is not what was read"
    is_png = source.read_bytes().startswith(png.SIGNATURE)
    if is_png and not any(np.array_equal(file.image, image) for image in originals):
        return "pixels of a PNG that nobody wrote"
    return ""
