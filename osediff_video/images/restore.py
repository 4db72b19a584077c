"""Make the result of an image file: what the model gives, with what the file says of itself; or as published."""

from image_core.draws.as_published import upscale_as_published
from image_core.errors import NotFiniteError
from image_core.images import scaled_size
from image_core.options import AsPublished
from image_core.upscaler import Upscaler
from osediff_video.images.image_file import ImageFile
from osediff_video.plan import output_size


def restore_file(
    upscaler: Upscaler, file: ImageFile, where: str, scale: float, size: str | None, wish: AsPublished | None = None
) -> tuple[ImageFile, list[str]]:
    """Return the result for an image file, and sentences on what is special about it.

    where: what errors call the file. size: as of `VideoOptions`, in place of the scale.
    wish: make it as the authors' test code does, by the scale.

    Raises NotFiniteError, OutOfMemoryError, and what `upscale_as_published` raises.
    """
    try:
        if wish is not None:
            return published_file(upscaler, file, wish)
        shape = output_size(file.image.shape[0], file.image.shape[1], scale, size)
        return file.enlarged(upscaler([file.model_input], shape)[0]), []
    except NotFiniteError as error:
        raise NotFiniteError(error.index, where) from error


def published_file(upscaler: Upscaler, file: ImageFile, wish: AsPublished) -> tuple[ImageFile, list[str]]:
    """Return a result as the authors' test code makes it: plain RGB of 8 bit, without what the file says of itself."""
    result = upscale_as_published(upscaler, file.image, wish)
    height, width = result.shape[:2]
    plain = scaled_size(file.image.shape[0], file.image.shape[1], upscaler.options.scale)
    notes = []
    if (height, width) != plain:
        notes.append(
            f"{width} x {height} and not {plain[1]} x {plain[0]}: the published code enlarges small images to "
            f"{wish.process_px} px and cuts sides to multiples of 8"
        )
    if file.alpha is not None or file.icc or file.exif or file.image.dtype != result.dtype:
        notes.append("transparency, colour profile, EXIF and 16 bits are left out, as the published code does")
    return ImageFile(result), notes
