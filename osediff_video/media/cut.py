"""Describe the part of a source that is selected, on the clock of the source."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Cut:
    """Describe the selected part in seconds of the source's clock; with a start, everything moves to begin at zero."""

    start_s: Fraction | None = None
    end_s: Fraction | None = None

    def __bool__(self) -> bool:
        return self.start_s is not None or self.end_s is not None

    @property
    def shift_s(self) -> Fraction:
        return self.start_s or Fraction(0)

    def shift(self, time_base: Fraction) -> int:
        """Return what is subtracted from every time, in units of `time_base`."""
        return round(self.shift_s / time_base)


WHOLE = Cut()
