"""Decide how each stretch of a video is treated, where a list of shots says so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from image_core.errors import MediaError
from image_core.upscaler import Upscaler
from osediff_video.options import VideoOptions
from osediff_video.shots.shot_list import ShotSettings
from osediff_video.temporal.blend import Blend, State, choose_blend
from osediff_video.temporal.steps import Step
from osediff_video.types import Frame, VideoInfo


@dataclass(frozen=True)
class Treatment:
    """Hold the model and the blend for a stretch. blend: None leaves frames as the model made them."""

    upscaler: Upscaler
    blend: Blend | None


class Treatments:
    """Look up the treatment of every frame, by its number. Raises MediaError for invalid tables."""

    def __init__(self, shots: tuple[ShotSettings, ...], options: VideoOptions, upscaler: Upscaler) -> None:
        self.shots = shots
        self.usual = Treatment(upscaler, choose_blend(options, upscaler))
        self.own = [self.of_shot(shot, options, upscaler) for shot in shots]

    @staticmethod
    def of_shot(shot: ShotSettings, options: VideoOptions, upscaler: Upscaler) -> Treatment:
        try:
            steered, video = upscaler.steered(shot.images(upscaler.options)), shot.video(options)
        except ValueError as error:
            place = f"number {shot.number}" if shot.number else f"start {float(shot.start_s or 0):g} s"
            raise MediaError(f"the list of shots, {place}: {error}") from error
        return Treatment(steered, choose_blend(video, steered))

    @property
    def by_number(self) -> bool:
        """Return whether cuts are counted, so that the video must be read from its beginning."""
        return any(shot.number is not None for shot in self.shots)

    @property
    def fix_by_statistics(self) -> bool:
        """Return whether some frame's colours are held to the input's means and deviations."""
        return any(part.upscaler.color_fix == "adain" for part in (self.usual, *self.own))

    def at(self, frame: Frame) -> Treatment:
        return self.usual if frame.treatment is None else self.own[frame.treatment]

    def marked(self, frames: Iterable[Frame], info: VideoInfo, shots_before: int = 0) -> Iterator[Frame]:
        """Yield the frames, cuts marked if tables have numbers, with their treatment. A change of it is a cut.

        shots_before: how many shots begin before the first of the frames.
        """
        if not self.shots:
            yield from frames
            return
        number, last, time_s = shots_before, None, None
        for frame in frames:
            number, time_s = number + frame.cut, info.since_start(frame.pts)
            table = self.table(number, time_s)
            yield replace(frame, treatment=table, cut=frame.cut or table != last)
            last = table
        if time_s is not None:
            self.say_unreached(number, time_s)

    def say_unreached(self, number: int, time_s: Fraction) -> None:
        """Report tables that no frame used, since the video ends in this shot at this time: most likely a mistake."""
        report = self.usual.upscaler.report
        for shot in self.shots:
            if shot.number is not None and shot.number > number:
                report(f"note: the list of shots has number {shot.number}, but shot {number} is the last here")
            if shot.start_s is not None and shot.start_s > time_s:
                start, last = float(shot.start_s), float(time_s)
                report(f"note: the list of shots has start {start:g} s, but the last frame here is at {last:g} s")

    def table(self, number: int, time_s: Fraction) -> int | None:
        """Return the number of the treatment of a frame of this shot at this time; None for the usual one."""
        begun: list[tuple[Fraction, int]] = []
        for index, shot in enumerate(self.shots):
            if shot.number == number:
                return index
            if shot.start_s is not None and shot.start_s <= time_s:
                begun.append((shot.start_s, index))
        return max(begun)[1] if begun else None


@dataclass(frozen=True)
class BlendByShot:
    """Blend each frame as its treatment says. Either every treatment has a blend, or none has."""

    treatments: Treatments

    def begin(self, step: Step) -> State:
        return self.blend_of(step).begin(step)

    def carry(self, state: State, step: Step) -> State:
        return self.blend_of(step).carry(state, step)

    def blend_of(self, step: Step) -> Blend:
        blend = self.treatments.at(step.frame).blend
        assert blend is not None
        return blend
