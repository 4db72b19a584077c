"""Define what travels between the stages: facts about a video, and its frames."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

Pixels = TypeVar("Pixels", bound=NDArray[Any])

MILLISECOND = Fraction(1, 1000)
"""A time base, in seconds."""

ImageArray = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W, 3) RGB, full range: 0..255 for uint8, 0..65535 for uint16."""

Plane = NDArray[np.uint8] | NDArray[np.uint16]
"""(H, W), one channel of the same range: alpha."""


@dataclass(frozen=True)
class ColorTags:
    """State how the samples of a video stream mean colour: values of ITU-T H.273, as FFmpeg numbers them.

    matrix, primaries, transfer: 2 is "not said". full_range: samples use the whole code range.
    guessed: the file did not say its matrix and we chose by image size.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool
    guessed: bool = False


@dataclass(frozen=True)
class Light:
    """Hold HDR10 static metadata.

    mastering: display volume in the syntax of x265.
    content: (MaxCLL, MaxFALL) in cd/m2.
    """

    mastering: str | None = None
    content: tuple[int, int] | None = None


@dataclass(frozen=True)
class Orientation:
    """Turn a coded image upright: first rows and columns change places, then it is mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def __call__(self, image: Pixels) -> Pixels:
        """Return the image upright and contiguous in memory. image: (H, W) or (H, W, C)."""
        if not (self.transpose or self.mirror_x or self.mirror_y):
            return image
        turned = np.swapaxes(image, 0, 1) if self.transpose else image
        return cast(Pixels, np.ascontiguousarray(turned[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1]))


UPRIGHT = Orientation()


@dataclass(frozen=True)
class VideoInfo:
    """Describe one video stream as it will be decoded.

    path: the file, or `-` for standard input.
    width, height: pixels of a decoded frame, upright.
    time_base: seconds per unit of pts.
    frame_rate: frames per second; a hint for encoders, never a source of timestamps.
    frame_count_estimate: from the header or the duration; the exact number is known at the end only.
    duration_s: seconds; None when the container does not say.
    bit_depth: bits per sample of the source.
    color: matrix, primaries, transfer and range.
    sample_aspect_ratio: width / height of one pixel, upright.
    orientation: how the reader turns coded images upright.
    display_matrix: the file's own form of it.
    alpha: frames come with transparency.
    light: HDR10 static metadata.
    interlaced: frames are woven of two fields.
    begins_s: time of the first frame on the file's clock; what users name as a time counts from here.
    extras: what the first frames carry beside their images, in words.
    timecode: SMPTE time code of the first frame, where the images carry one.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction
    frame_count_estimate: int | None
    duration_s: float | None
    bit_depth: int
    color: ColorTags
    sample_aspect_ratio: Fraction = Fraction(1)
    orientation: Orientation = UPRIGHT
    display_matrix: tuple[int, ...] | None = None
    pix_fmt: str = "rgb24"
    codec: str = ""
    container: str = ""
    alpha: bool = False
    light: Light = Light()
    interlaced: bool = False
    begins_s: Fraction = Fraction(0)

    def since_start(self, pts: int) -> Fraction:
        """Return the seconds from the first frame to `pts`, as users count them."""
        return pts * self.time_base - self.begins_s

    extras: tuple[str, ...] = ()
    timecode: str | None = None


@dataclass(frozen=True)
class Frame:
    """Hold a decoded image and its exact time.

    image: (H, W, 3) RGB, uint8 or uint16.
    pts, duration: in the time base of its VideoInfo; duration 0 is unknown.
    alpha: (H, W) of the same dtype, or None.
    cut: the frame begins a shot.
    treatment: number of its settings in the list of shots; None is the command's own.
    captions: closed captions, three bytes for each pair of characters.
    """

    image: ImageArray
    pts: int
    duration: int = 0
    alpha: Plane | None = None
    cut: bool = False
    treatment: int | None = None
    captions: bytes = b""


@dataclass
class Faults:
    """Record what was wrong with a source; filled while its frames are read.

    repeated: times, in pts, of images that did not decode; the last good one stands in.
    lost: times of images that did not decode and that nothing stands in for, since no good one came before.
    concealed: frames that the decoder marked as damaged.
    moved: frames whose time was not after that of the one before, and was moved behind it.
    joined: times, in pts, where the clock started again and was continued.
    changes: sentences on properties that changed in mid-video.
    cut_short: why reading ended before the end, or None.
    """

    repeated: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    concealed: int = 0
    moved: int = 0
    joined: list[int] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    cut_short: str | None = None

    def __bool__(self) -> bool:
        return self != Faults()

    @property
    def is_complete(self) -> bool:
        """Return whether every frame of the source is in the result, or another one stands in its place."""
        return self.cut_short is None and not self.lost

    def __str__(self) -> str:
        sentences = []
        if self.lost:
            sentences.append(
                f"{number_of('frame', self.lost)} at the start could not be decoded: missing in the result"
            )
        if self.repeated:
            sentences.append(f"{number_of('damaged frame', self.repeated)} replaced by the last good one")
        if self.concealed:
            sentences.append(f"{number_of('damaged frame', self.concealed)} patched by the decoder")
        if self.moved:
            sentences.append(f"{number_of('frame', self.moved)} with the time of the one before, moved behind it")
        if self.joined:
            sentences.append(f"the clock starts again ({number_of('time', self.joined)}) and was continued")
        sentences += self.changes
        if self.cut_short:
            sentences.append(f"the video ends early: {self.cut_short}")
        return "; ".join(sentences)

    def __add__(self, other: "Faults") -> "Faults":
        """Combine the faults of two sources that are shown in one."""
        return Faults(
            self.repeated + other.repeated,
            self.lost + other.lost,
            self.concealed + other.concealed,
            self.moved + other.moved,
            self.joined + other.joined,
            self.changes + other.changes,
            self.cut_short or other.cut_short,
        )


def number_of(thing: str, items: Sequence[object] | int) -> str:
    """Return "1 frame" or "3 frames"."""
    count = items if isinstance(items, int) else len(items)
    return f"{count} {thing}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Jump:
    """Mark a place where times start again. at_s: on the continuous clock. by_s: added to all times from there on."""

    at_s: Fraction
    by_s: Fraction


@dataclass(frozen=True)
class Bookmark:
    """Mark a place in a source from which reading can resume: the frame number `position`, counted from 0.

    pts: its time, in the time base of the VideoInfo. checksum: of its image, see `checksum_of`.
    """

    position: int
    pts: int
    checksum: int


def checksum_of(image: ImageArray) -> int:
    """Return the CRC-32 of an image's samples."""
    return zlib.crc32(np.ascontiguousarray(image).data)


class Source(Protocol):
    """Provide frames from a video, a folder of frames, an animation or a pipe."""

    info: VideoInfo

    @property
    def faults(self) -> Faults:
        """Return the faults so far of what the last call of `frames` read."""
        ...

    @property
    def jumps(self) -> Sequence[Jump]:
        """Return where the times of the file start again, as far as it was read."""
        ...

    @property
    def last_sign(self) -> float:
        """Return when the working decoder last gave a sign, by the monotonic clock; infinite while it waits."""
        ...

    def frames(self, skip: int = 0, bookmark: Bookmark | None = None) -> Iterator[Frame]:
        """Yield every frame after the first `skip`, in order. Raises MediaError.

        bookmark: of the frame number `skip`, so that what comes before it need not be read.
        """
        ...
