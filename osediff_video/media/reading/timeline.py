"""Continue the clock of a file whose times start again: joined recordings, and clocks that jump."""

from dataclasses import dataclass, field
from fractions import Fraction

from av.packet import Packet

from osediff_video.types import Jump

BACK_S = Fraction(1, 2)
"""Decoding times of a stream grow; where they fall by more than this, another recording begins."""

FORWARD_S = Fraction(10)
"""In a transport stream a gap of more than this is a clock that was set anew, as FFmpeg's own tool takes it too."""


@dataclass
class Timeline:
    """Continue the times of one stream where they jump.

    forward: take long gaps for jumps too. known: the jumps of the video, which other streams follow; None finds them.
    """

    forward: bool
    known: list[Jump] | None = None
    jumps: list[Jump] = field(default_factory=list)
    last_s: Fraction | None = None
    end_s: Fraction = Fraction(0)
    step_s: Fraction = Fraction(0)
    by_s: Fraction = Fraction(0)

    def adjust(self, packet: Packet) -> None:
        """Move a packet, in the order of the file, onto the continuous clock."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not packet.time_base:
            return
        base = Fraction(packet.time_base)
        time_s = stamp * base
        if self.last_s is not None:
            step_s = time_s - self.last_s
            if self.is_jump(step_s):
                self.jump(time_s)
            elif step_s > 0:
                self.step_s = step_s
        self.last_s = time_s
        by = round(self.by_s / base)
        if by:
            packet.dts = None if packet.dts is None else packet.dts + by
            packet.pts = None if packet.pts is None else packet.pts + by
        lasts_s = packet.duration * base if packet.duration else self.step_s  # a transport stream says no durations
        self.end_s = max(self.end_s, time_s + self.by_s + lasts_s)

    def is_jump(self, step_s: Fraction) -> bool:
        """Return whether times that go on by `step_s` start again."""
        return step_s < -BACK_S or (self.forward and step_s > FORWARD_S)

    def jump(self, time_s: Fraction) -> None:
        """Shift times so that they continue after the last packet, or as those of the video do."""
        number = len(self.jumps)
        if self.known is not None:
            if number >= len(self.known):
                return
            self.by_s = self.known[number].by_s
        else:
            self.by_s = self.end_s - time_s
        self.jumps.append(Jump(self.end_s, self.by_s))
