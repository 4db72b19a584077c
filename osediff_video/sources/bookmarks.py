"""Remember where to resume reading, so that a long video need not be read from its beginning."""

from collections.abc import Generator

from osediff_video.types import Bookmark, Frame, Source, checksum_of


class Bookmarks:
    """Set bookmarks while frames go by, one before the start of every segment.

    segment_frames: length of a segment. lead_frames: how many frames before a segment must be read for it to come out
    as if all had been. known: the one for the first segment that is to be made, from an earlier run.
    """

    def __init__(self, segment_frames: int, lead_frames: int, known: Bookmark | None = None) -> None:
        self.segment_frames, self.lead_frames, self.known = segment_frames, lead_frames, known
        self.set: dict[int, Bookmark] = {}

    def position(self, first: int) -> int:
        """Return the number of the bookmarked frame for a segment that begins with the frame `first`.

        One more than the lead is read, so that there is a frame to know the place by even without any.
        """
        return first - self.lead_frames - 1

    def at(self, first: int) -> Bookmark | None:
        """Return the known bookmark, if it is that of a segment that begins with the frame `first`."""
        known = self.known
        return known if known is not None and known.position == self.position(first) else None

    def placed(self, source: Source, begin: int, bookmark: Bookmark | None) -> Generator[Frame, None, None]:
        """Yield the frames of `source` from number `begin` on, and set bookmarks on the way.

        None is set in a source that had faults until there: what they shifted would not be known again.
        """
        for position, frame in enumerate(source.frames(begin, bookmark), begin):
            first = position - self.position(0)
            if first > 0 and first % self.segment_frames == 0 and not source.faults:
                self.set[first] = Bookmark(position, frame.pts, checksum_of(frame.image))
            yield frame

    def take(self, first: int) -> Bookmark | None:
        """Return the bookmark of the segment that begins with the frame `first`, and forget it."""
        return self.set.pop(first, None)
