"""Exit code 0 means: everything is there and was checked. What else happens is 1, and a wrong command 2."""

import itertools
from fractions import Fraction

import av
import pytest

from osediff_video import finish
from osediff_video.media.probe import probe
from osediff_video.media.stream_plan import plan_streams
from osediff_video.media.verify import verify
from osediff_video.media.writing.assemble import CONTAINERS
from osediff_video.plain_resize import PlainResize
from tests.commands.test_cli import run
from tests.support.media_files import read, write_video

COUNT = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A video with sound."""
    return write_video(tmp_path_factory.mktemp("whole") / "in.mkv", [40 * n for n in range(COUNT)], size=(16, 24),
                       time_base=Fraction(1, 1000), last_duration=40, sound_from=Fraction(0),
                       options={"bf": "0"})  # fmt: skip


@pytest.fixture(scope="module")
def cut_short(whole, tmp_path_factory):
    """The same file, of which the last third is missing."""
    path = tmp_path_factory.mktemp("short") / "in.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    return path


@pytest.fixture(autouse=True)
def _plain_resize(monkeypatch):
    """What is lost, and what is wrong, does not depend on the model."""
    monkeypatch.setattr("osediff_video.api.load_upscaler", lambda *_, **__: PlainResize(1.0))


def as_they_are(number, packet):  # noqa: ARG001 - one of many
    return [packet.pts]


def remuxed(source, target, video=as_they_are, sound_shift=0, altered=None):
    """Copy a file with other times: `video` gives those of each packet, none to drop it.

    altered: kind of stream of which one bit of the tenth packet changes.
    """
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = {s.index: after.add_stream_from_template(s) for s in before.streams}
        numbers, of_kind = itertools.count(), itertools.count()
        for packet in before.demux():
            if not packet.size:
                continue
            kind, times = packet.stream.type, [packet.pts]
            if kind == "video":
                times = video(next(numbers), packet)
            delay = 0 if packet.dts is None else packet.pts - packet.dts
            for pts in times:
                data = bytearray(packet)
                if kind == altered and next(of_kind) == 9:
                    data[-1] ^= 1
                copied = av.Packet(bytes(data))
                copied.time_base, copied.duration, copied.is_keyframe = (
                    packet.time_base,
                    packet.duration,
                    packet.is_keyframe,
                )
                shift = round(sound_shift / packet.time_base) if kind == "audio" else 0
                copied.pts, copied.dts, copied.stream = pts + shift, pts + shift - delay, streams[packet.stream.index]
                after.mux(copied)
    return target


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("allow_damaged", [False, True])
@pytest.mark.parametrize("verified", [True, False])
@pytest.mark.parametrize("complete", [True, False])
def test_exit_code(complete, verified, allow_damaged, strict, whole, cut_short, tmp_path, monkeypatch):
    if not verified:  # a fault of the machine between writing and checking
        real = finish.assemble

        def assemble(assembly, part, suffix):
            result = real(assembly, part, suffix)
            moved = remuxed(part, part.with_name("moved.mkv"), lambda n, packet: [packet.pts + 10 * (n == 7)])
            moved.replace(part)
            return result

        monkeypatch.setattr(finish, "assemble", assemble)
    source = whole if complete else cut_short
    words = ["--allow-damaged"] * allow_damaged + ["--strict"] * strict
    expected = 0 if verified and (complete or allow_damaged) else 1
    output = run("upscale", source, "-o", tmp_path / "out.mkv", "--scale", 1, "--preset", "ultrafast",
                 "--temporal", "off", *words, code=expected)  # fmt: skip
    assert ("verified" in output, "FAILED" in output) == (verified, not verified)
    assert ("ends early" in output) == (not complete)


def test_strict_refuses_what_would_be_lost_before_any_work(whole, tmp_path):
    assert "may be lost" in run("upscale", whole, "-o", tmp_path / "a.gif", "--scale", 1, "--strict", code=1)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_verification_fails_for_what_is_wrong(suffix, whole, tmp_path):
    source, base = whole, probe(whole).time_base
    good, times = remuxed(source, tmp_path / f"good{suffix}"), [frame.pts for frame in read(source)]
    streams = plan_streams(source, CONTAINERS[suffix])

    def check(path):
        return verify(source, base, path, times, streams)

    ticks = {".mkv": 1000, ".mp4": None}[suffix] or probe(good).time_base.denominator
    ms = lambda count: round(Fraction(count, 1000) * Fraction(ticks))  # noqa: E731
    assert check(good).ok
    few = remuxed(good, tmp_path / f"few{suffix}", lambda n, p: [p.pts] if n != COUNT - 1 else [])
    assert not check(few).ok and check(few).frames_found == COUNT - 1
    many = remuxed(
        good, tmp_path / f"many{suffix}", lambda n, p: [p.pts] if n != COUNT - 1 else [p.pts, p.pts + ms(40)]
    )
    assert not check(many).ok and check(many).frames_found == COUNT + 1
    moved = remuxed(good, tmp_path / f"moved{suffix}", lambda n, p: [p.pts + ms(2) * (n == COUNT - 1)])
    assert not check(moved).ok and check(moved).largest_error_s >= Fraction(15, 10000)
    late = remuxed(good, tmp_path / f"late{suffix}", sound_shift=Fraction(5, 1000))
    assert not check(late).ok and abs(check(late).sound_error_s) > Fraction(4, 1000)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".ts"])
@pytest.mark.parametrize("altered", [None, "audio"])
def test_verification_fails_for_an_altered_copied_packet(suffix, altered, whole, tmp_path, monkeypatch):
    def assemble(assembly, part, suffix):
        result = finish_assemble(assembly, part, suffix)
        remuxed(part, part.with_name(f"altered{suffix}"), altered=altered).replace(part)
        return result

    finish_assemble = finish.assemble
    monkeypatch.setattr(finish, "assemble", assemble)
    output = run("upscale", whole, "-o", tmp_path / f"out{suffix}", "--scale", 1, "--preset", "ultrafast",
                 "--temporal", "off", code=1 if altered else 0)  # fmt: skip
    assert ("audio 1 not as in the source" in output) == bool(altered)


def test_a_wrong_command_is_2(whole):
    assert "no such option" in run("upscale", whole, "--nonsense", code=2).lower()
