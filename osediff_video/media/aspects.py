"""Follow the pixel aspect along a stream: decoders report only that of the last packet."""

from fractions import Fraction

from av.packet import Packet


class Aspects:
    """Hold the pixel aspect at each time of a stream, as far as it was decoded."""

    def __init__(self) -> None:
        self.known: list[tuple[int, Fraction]] = []

    def see(self, packet: Packet, aspect: Fraction | None) -> None:
        """Note the aspect that the decoder reports after a packet; frames before the packet's time had the last one."""
        ratio = Fraction(aspect or 0)
        if ratio > 0 and packet.pts is not None and (not self.known or self.known[-1][1] != ratio):
            self.known.append((packet.pts, ratio))

    def at(self, pts: int | None) -> Fraction | None:
        """Return the bitstream's aspect at a time; None where it says nothing."""
        if not self.known:
            return None
        if pts is None:
            return self.known[-1][1]
        return next((ratio for time, ratio in reversed(self.known) if time <= pts), self.known[0][1])
