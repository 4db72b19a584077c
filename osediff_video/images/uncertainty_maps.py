"""Write uncertainty maps: 16-bit grey PNG with the scale in its text, and a coloured image beside it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from image_core.device.transfer import Landing
from image_core.draws.uncertainty import Spread, spread
from image_core.errors import OutputError
from image_core.images import to_eight_bit
from image_core.options import Draws
from image_core.storage.files import replacing
from osediff_video.shots.treatment import Treatments
from osediff_video.temporal.steps import Step
from osediff_video.types import ImageArray

UNITS_PER_LEVEL = 256
"""Of the 16-bit values: a standard deviation of one level of 255 is 256."""

LEAST_TOP, TOP_QUANTILE = 0.25, 0.995
LEGEND_PX = 160


def write_map(path: Path, image: ImageArray, measured: Spread, draws: Draws, identity: str) -> None:
    """Write the map as `path` and the coloured image beside it. image: the result, (H, W, 3).

    Raises OutputError.
    """
    top = top_level(measured.levels)
    facts = {
        "Title": "Uncertainty: standard deviation of each pixel over draws, root mean square of the channels",
        "Scale": f"{UNITS_PER_LEVEL} units are one level of 255",
        "Overlay": f"brightest colour is {top:g} levels",
        "Draws": f"{draws.count} of {measured.kind}"
        + (f", {measured.noise_levels:.3f} levels" if measured.noise_levels is not None else ""),
        "Seed": str(draws.seed),
        "Model": identity,
    }
    units = np.clip(np.rint(measured.levels * UNITS_PER_LEVEL), 0, 65535).astype(np.uint16)
    for target, pixels in ((path, units), (overlay_path(path), overlay(image, measured.levels, top))):
        text = PngInfo()
        for key, value in facts.items():
            text.add_text(key, value)
        try:
            with replacing(target) as part:
                Image.fromarray(pixels).save(part, "PNG", pnginfo=text)
        except OSError as error:
            raise OutputError(f"{target}: cannot write the map: {error}") from error


def with_maps(
    upscaled: Iterable[Step], folder: Path, draws: Draws, treatments: Treatments, first: int
) -> Iterator[Step]:
    """Pass the steps on and write a map for every frame from `first` on; a repeated frame shares its map.

    Raises OutputError.
    """
    measured: Spread | None = None
    for step in upscaled:
        if step.position >= first:
            assert step.draft is not None
            upscaler, image = treatments.at(step.frame).upscaler, Landing(step.draft.image).array()
            if measured is None or not step.same:
                text = step.embedding if upscaler.prompter is not None else None
                measured = spread(upscaler, step.frame.image, draws, image.shape[:2], text)
            write_map(folder / f"frame_{step.position + 1:08d}.png", image, measured, draws, upscaler.identity)
        yield step


def overlay_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_overlay.png")


def top_level(levels: NDArray[np.float32]) -> float:
    """Return the value of the brightest colour: a power of two, so that it seldom changes between frames."""
    return max(LEAST_TOP, float(2 ** np.ceil(np.log2(max(1e-6, float(np.quantile(levels, TOP_QUANTILE)))))))


def overlay(image: ImageArray, levels: NDArray[np.float32], top: float) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) in grey, coloured the more the less certain it is, with a scale in its corner."""
    share = np.clip(levels / top, 0, 1)
    color = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    grey = cv2.cvtColor(to_eight_bit(image), cv2.COLOR_RGB2GRAY)[..., None] * np.float32(0.7)
    weight = np.sqrt(share)[..., None]
    result = np.rint(grey * (1 - weight) + color * weight).astype(np.uint8)
    if min(result.shape[:2]) >= LEGEND_PX:
        draw_legend(result, top)
    return result


def draw_legend(image: NDArray[np.uint8], top: float) -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8), (10, 1)) * 2
    image[-28:-18, 8:136] = cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[..., ::-1]
    image[-16:-2, 8:136] = 0
    cv2.putText(image, f"0 to {top:g} levels", (10, image.shape[0] - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3, 1)
