"""Detect where one shot ends and the next begins, while the frames go by."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from image_core.errors import MediaError
from image_core.images import to_eight_bit
from osediff_video.options import parse_time
from osediff_video.types import Frame, ImageArray, VideoInfo

LOOKAHEAD = 2
"""A frame is judged against so many on either side."""

SETTLED = 2 * LOOKAHEAD + 2
"""Frames after which the judgement no longer depends on where reading began."""

SMALL_PX = 256


def mark_cuts(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield the frames with `cut` set on those that begin a shot; runs two frames behind its input.

    PySceneDetect's adaptive detector: content change against that of the neighbouring frames, so that neither fast
    motion nor a flash of one frame is a cut. A frame's judgement depends on its neighbours alone, so reading may begin
    anywhere.
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(min_scene_len=0, window_width=LOOKAHEAD)
    held: deque[tuple[int, Frame]] = deque()
    for number, frame in enumerate(frames):
        held.append((number, frame))
        cuts = {cut.frame_num for cut in detector.process_frame(FrameTimecode(number, 25.0), thumbnail(frame.image))}
        if number >= LOOKAHEAD:
            judged, oldest = held.popleft()
            yield replace(oldest, cut=judged in cuts or judged == 0)
    for number, frame in held:
        yield replace(frame, cut=number == 0)


def thumbnail(image: ImageArray) -> np.ndarray:
    """Return the image as (h, w, 3) BGR uint8 with no side over 256."""
    image = to_eight_bit(image)
    factor = min(1.0, SMALL_PX / max(image.shape[:2]))
    if factor < 1:
        size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[..., ::-1])


def mark_listed_cuts(frames: Iterable[Frame], times: list[Fraction], info: VideoInfo) -> Iterator[Frame]:
    """Yield the frames, `cut` set on the first at or after each of `times`: sorted, seconds from the first frame."""
    last: Fraction | None = None
    for frame in frames:
        now = info.since_start(frame.pts)
        yield replace(frame, cut=last is None or any(last < time <= now for time in times))
        last = now


def mark_known_cuts(frames: Iterable[Frame], begin: int, cuts: Sequence[int]) -> Iterator[Frame]:
    """Yield the frames, the first of which is number `begin`, with `cut` set on those at the positions `cuts`."""
    known = set(cuts)
    for position, frame in enumerate(frames, begin):
        yield replace(frame, cut=position in known)


def read_cut_list(path: Path) -> list[Fraction]:
    """Read times, one per line, in seconds or h:mm:ss. Raises MediaError for a file that is no such list."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return sorted(parse_time(line) for line in lines if line.strip() and not line.startswith("#"))
    except FileNotFoundError as error:
        raise MediaError(f"{path}: no such file; expected a list of cuts, one time a line") from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise MediaError(f"{path}: not a list of cuts, one time a line ({error})") from error
