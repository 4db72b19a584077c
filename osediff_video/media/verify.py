"""Check a finished video: all frames present, each at its time, sound where it was, and copies as they were."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from osediff_video.media.container import open_container, readable_packets, ticks, video_stream
from osediff_video.media.cut import WHOLE, Cut
from osediff_video.media.payload import PayloadDigest, Payloads, numbered
from osediff_video.media.stream_plan import StreamPlan

MATROSKA_TICK_S = Fraction(1, 1000)
TRANSPORT_TICK_S = Fraction(1, 90000)
SOUND_TOLERANCE_S = Fraction(3, 2000)
"""Containers that count milliseconds round a time on both ways, sound and first frame."""

MOST_PACKETS_TO_SOUND = 200
IMAGES = ("video", 0)
"""The upscaled video is the first that is written."""


@dataclass(frozen=True)
class Verification:
    """Report how a written video compares with what it should be.

    frames_expected, frames_found: number of frames.
    largest_error_s: largest timestamp error of a frame.
    tolerance_s: largest error that counts as rounding.
    shift_s: by which the container moved all streams alike (Matroska when sound starts before zero, MPEG-TS always).
    sound_error_s: change of the time of the same sound against the first frame; None without comparable sound.
    same_images: the encoded images are those that were written.
    changed: copied streams that hold other packets than the source.
    """

    frames_expected: int
    frames_found: int
    largest_error_s: Fraction
    tolerance_s: Fraction
    shift_s: Fraction
    sound_error_s: Fraction | None = None
    same_images: bool = True
    changed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        times = self.frames_expected == self.frames_found and self.largest_error_s <= self.tolerance_s
        sound = self.sound_error_s is None or abs(self.sound_error_s) <= SOUND_TOLERANCE_S
        return times and sound and self.same_images and not self.changed

    def __str__(self) -> str:
        shift = f", everything starts {float(self.shift_s) * 1000:.0f} ms later" if self.shift_s else ""
        sound = "" if self.sound_error_s is None else f", sound off by {float(self.sound_error_s) * 1000:.3f} ms"
        changed = f", {' and '.join(self.changed)} not as in the source" if self.changed else ""
        verdict = "verified" if self.ok else "verification FAILED"
        return (
            f"{verdict}: {self.frames_found} of {self.frames_expected} frames, "
            f"largest timestamp error {float(self.largest_error_s) * 1000:.3f} ms{sound}{shift}"
            f"{'' if self.same_images else ', the encoded images are not those of the finished segments'}"
            f"{changed}"
        )


def verify(
    source: Path,
    time_base: Fraction,
    target: Path,
    expected_pts: Sequence[int],
    streams: Sequence[StreamPlan] = (),
    cut: Cut = WHOLE,
    payloads: Payloads | None = None,
) -> Verification:
    """Compare the presentation times in `target` with `expected_pts`, of the frames written, in `time_base`.

    streams: what became of those of `source`. payloads: digests of the encoded images and of the copied streams that
    must be there, see `PayloadDigest`. Reads packets, decodes little. Raises MediaError when a file does not open.
    """
    with open_container(target) as container:
        stream = video_stream(container, target)
        base = ticks(stream)
        names = {index: name for index, name in numbered(container.streams).items() if name in (payloads or {})}
        digests = {index: PayloadDigest(container.streams[index]) for index in names}
        found = []
        for packet in container.demux([s for s in container.streams if s is stream or s.index in digests]):
            if packet.size and packet.stream is stream and packet.pts is not None:
                found.append(packet.pts * base)
            if packet.size and packet.stream.index in digests:
                digests[packet.stream.index].update(packet)
        found.sort()
        held = {names[index]: digest.hexdigest() for index, digest in digests.items()}
        kind = container.format.name
    moves = "matroska" in kind or "mpegts" in kind
    tolerance = MATROSKA_TICK_S if "matroska" in kind else TRANSPORT_TICK_S if "mpegts" in kind else Fraction(0)
    expected = [pts * time_base for pts in expected_pts]
    pairs = list(zip(found, expected, strict=False))
    # Matroska knows no negative times: its muxer moves all streams together, to the millisecond
    shift = _shift(pairs, tolerance) if moves else Fraction(0)
    error = max((abs(f - e - shift) for f, e in pairs), default=Fraction(0))
    sound_error = None
    sound = next((s for s in streams if s.kind == "audio" and s.action in ("copy", "convert")), None)
    if sound is not None and not cut and found and expected:
        first = copied_sound if sound.action == "copy" else decoded_sound
        before, after = first(source, sound.index), first(target, None)
        if before is not None and after is not None:
            sound_error = (after - found[0]) - (before - expected[0])
            if abs(sound_error) <= tolerance:
                sound_error = Fraction(0)  # both times are rounded by the container
    wrong = [name for name, payload in (payloads or {}).items() if held.get(name) != payload]
    changed = tuple(f"{kind} {number + 1}" for kind, number in wrong if (kind, number) != IMAGES)
    return Verification(len(expected), len(found), error, tolerance, shift, sound_error, IMAGES not in wrong, changed)


def sound_stream(container: InputContainer, index: int | None) -> AudioStream | None:
    """Return the stream of this index, or the first sound."""
    return next((s for s in container.streams.audio if index in (None, s.index) and s.codec_context is not None), None)


def copied_sound(path: Path, index: int | None) -> Fraction | None:
    """Return the time of the first packet in seconds: the same in source and copy, whatever players skip of it."""
    with open_container(path) as container:
        stream = sound_stream(container, index)
        if stream is None:
            return None
        packet = next((p for p in readable_packets(container, [stream]) if p.size and p.pts is not None), None)
        return None if packet is None or packet.pts is None else packet.pts * Fraction(packet.time_base)


def decoded_sound(path: Path, index: int | None) -> Fraction | None:
    """Return the time of the first audible sound, in seconds."""
    with open_container(path) as container:
        stream = sound_stream(container, index)
        packets = iter(()) if stream is None else readable_packets(container, [stream])
        for packet in itertools.islice(packets, MOST_PACKETS_TO_SOUND):
            with suppress(av.FFmpegError):
                for frame in packet.decode():
                    if frame.pts is not None and frame.time_base:
                        return frame.pts * Fraction(frame.time_base)
    return None


def _shift(pairs: Sequence[tuple[Fraction, Fraction]], tolerance: Fraction) -> Fraction:
    """Return the common delay of all frames, 0 where it is no more than a container's rounding."""
    if not pairs:
        return Fraction(0)
    middle = sorted(found - expected for found, expected in pairs)[len(pairs) // 2]
    return middle if abs(middle) > tolerance / 2 else Fraction(0)
