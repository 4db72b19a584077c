"""Record what one reading of a video finds, so that each segment can be made alone, anywhere, to the same bits."""

import bisect
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from image_core.color import ColorStats
from image_core.errors import OutputError
from image_core.storage.files import replacing, sha256
from image_core.storage.sealed import read_sealed, write_sealed
from osediff_video.job.order import Order, order_from, order_values
from osediff_video.types import Bookmark, Faults, Jump

FILE, TONES = "survey.json", "tones.npy"


@dataclass(frozen=True)
class Survey:
    """Hold what of a video is not known before it was read to its end.

    order: what was asked for. frames: how many there are. segment_frames: of each segment but the last.
    bookmarks: where the source is read from for each segment; None is its beginning.
    cuts: positions of the frames that begin a shot, before the list of shots adds its own.
    tones: (frames, 2, 3), shift and gain of every frame for the colour fix; None where nobody asks.
    faults, jumps: of the source as a whole.
    """

    order: Order
    frames: int
    segment_frames: int
    bookmarks: tuple[Bookmark | None, ...]
    cuts: tuple[int, ...]
    tones: NDArray[np.float64] | None
    faults: Faults
    jumps: tuple[Jump, ...]

    @property
    def count(self) -> int:
        """Return the number of segments."""
        return len(self.bookmarks)

    def length(self, index: int) -> int:
        """Return the number of frames in a segment."""
        return min(self.segment_frames, self.frames - index * self.segment_frames)

    def cuts_before(self, position: int) -> int:
        """Return how many shots begin before the frame at `position`."""
        return bisect.bisect_left(self.cuts, position)

    def tone(self, position: int) -> ColorStats | None:
        """Return the tone of a frame, the same numbers that were found."""
        if self.tones is None:
            return None
        shift, gain = self.tones[position].tolist()
        return ColorStats(tuple(shift), tuple(gain))


def tones_of(found: Sequence[ColorStats | None]) -> NDArray[np.float64] | None:
    """Return the tones of all frames as one array; None where there are none."""
    if not found or found[0] is None:
        return None
    return np.array([(tone.shift, tone.gain) for tone in found if tone is not None], np.float64)


def write_survey(folder: Path, survey: Survey) -> None:
    """Store a survey in the folder of a job. Raises OutputError."""
    try:
        digest = None
        if survey.tones is not None:
            buffer = io.BytesIO()
            np.save(buffer, survey.tones, allow_pickle=False)
            with replacing(folder / TONES) as part:
                part.write_bytes(buffer.getvalue())
            digest = sha256(folder / TONES)
        values = {
            "order": order_values(survey.order),
            "frames": survey.frames,
            "segment_frames": survey.segment_frames,
            "bookmarks": [None if mark is None else asdict(mark) for mark in survey.bookmarks],
            "cuts": list(survey.cuts),
            "tones": digest,
            "faults": asdict(survey.faults),
            "jumps": [[str(jump.at_s), str(jump.by_s)] for jump in survey.jumps],
        }
        write_sealed(folder / FILE, values)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error})") from error


def read_survey(folder: Path) -> Survey | None:
    """Return what `write_survey` stored; None where it did not, it was changed, or another version wrote it."""
    values = read_sealed(folder / FILE)
    if values is None:
        return None
    try:
        tones = None
        if values["tones"] is not None:
            if sha256(folder / TONES) != values["tones"]:
                return None
            tones = np.load(folder / TONES, mmap_mode="r", allow_pickle=False)
        return Survey(
            order_from(values["order"]),
            values["frames"],
            values["segment_frames"],
            tuple(None if mark is None else Bookmark(**mark) for mark in values["bookmarks"]),
            tuple(values["cuts"]),
            tones,
            Faults(**values["faults"]),
            tuple(Jump(Fraction(at_s), Fraction(by_s)) for at_s, by_s in values["jumps"]),
        )
    except (KeyError, TypeError, ValueError, OSError):
        return None
