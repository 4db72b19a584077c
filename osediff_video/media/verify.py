"""Look at a finished film again: are all frames there, each at its time?"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from osediff_video.media.probe import film_stream, open_film, ticks
from osediff_video.types import VideoInfo

MATROSKA_TICK_S = Fraction(1, 1000)


@dataclass(frozen=True)
class Verification:
    """largest_error_s: of any frame's time. shift_s: by which the container moved all streams alike (Matroska does so
    when sound starts before zero)."""

    frames_expected: int
    frames_found: int
    largest_error_s: Fraction
    tolerance_s: Fraction
    shift_s: Fraction

    @property
    def ok(self) -> bool:
        return self.frames_expected == self.frames_found and self.largest_error_s <= self.tolerance_s

    def __str__(self) -> str:
        shift = f", everything starts {float(self.shift_s) * 1000:.0f} ms later" if self.shift_s else ""
        return (
            f"{'verified' if self.ok else 'WRONG'}: {self.frames_found} of {self.frames_expected} frames, "
            f"largest timestamp error {float(self.largest_error_s) * 1000:.3f} ms{shift}"
        )


def verify(info: VideoInfo, target: Path, expected_pts: Sequence[int]) -> Verification:
    """Compare the presentation times in `target` with those of the frames that were written, in `info.time_base`.

    Reads packets, decodes nothing. Raises MediaError when the file does not open.
    """
    with open_film(target) as container:
        stream = film_stream(container, target)
        base = ticks(stream)
        found = sorted(
            packet.pts * base for packet in container.demux(stream) if packet.size and packet.pts is not None
        )
        matroska = "matroska" in container.format.name
    expected = [pts * info.time_base for pts in expected_pts]
    pairs = list(zip(found, expected, strict=False))
    # Matroska knows no negative times: its muxer moves all streams together, to the millisecond
    shift = _shift(pairs) if matroska else Fraction(0)
    error = max((abs(f - e - shift) for f, e in pairs), default=Fraction(0))
    # half a tick of rounding, for the frame and for the shift
    return Verification(len(expected), len(found), error, MATROSKA_TICK_S if matroska else Fraction(0), shift)


def _shift(pairs: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    """The common delay of all frames, 0 where it is no more than a container's rounding."""
    if not pairs:
        return Fraction(0)
    middle = sorted(found - expected for found, expected in pairs)[len(pairs) // 2]
    return middle if abs(middle) > MATROSKA_TICK_S / 2 else Fraction(0)
