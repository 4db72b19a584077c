"""What a source really held: frames its container promised, frames a decoder swallowed, clocks and properties that
change."""

import time
from fractions import Fraction

import av
import numpy as np
import pytest

from image_core.errors import MediaError
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.plan import plan_opened
from osediff_video.run import carry_out, upscale_video
from osediff_video.sources.comparison import open_comparison
from tests.support.media_files import FAST, copy, packets, read, read_times, sample_image, write_video

STEADY = [512 * n for n in range(100)]
LOSSLESS = Encoding("ffv1")


def remux(source, target, change, **options):
    """Copy the packets of a video. `change` gets number and packet and returns its bytes, or None to drop it."""
    with av.open(str(source)) as opened, av.open(str(target), "w", container_options=options) as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        for number, packet in enumerate(p for p in opened.demux(video=0) if p.size):
            data = change(number, packet)
            if data is not None:
                changed = av.Packet(data)
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.duration, changed.is_keyframe, changed.stream = packet.duration, packet.is_keyframe, stream
                output.mux_one(changed)
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_a_file_that_ends_early_is_not_complete(tmp_path, suffix, share):
    codec = {"codec": "mpeg4", "time_base": Fraction(1, 25)} if suffix == ".avi" else {}
    pts = list(range(100)) if suffix == ".avi" else STEADY
    whole = write_video(tmp_path / f"whole{suffix}", pts, last_duration=1 if suffix == ".avi" else 512, **codec)
    if suffix in (".mp4", ".mov"):
        whole = remux(whole, tmp_path / f"index_first{suffix}", lambda _, p: bytes(p), movflags="+faststart")
    assert copy(whole, tmp_path / "a.mkv").complete
    data = whole.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data[: int(len(data) * share)])
    result = copy(cut, tmp_path / "b.mkv")
    assert not result.complete and result.frames < 100 and "ends early" in str(result.faults)


def test_a_transport_stream_that_stops_within_a_packet_is_not_complete(tmp_path):
    whole = write_video(tmp_path / "whole.ts", STEADY)
    assert copy(whole, tmp_path / "a.mkv").complete
    (tmp_path / "cut.ts").write_bytes(whole.read_bytes()[:-500])
    assert not copy(tmp_path / "cut.ts", tmp_path / "b.mkv").complete


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_sound_that_goes_on_after_the_last_image_is_no_fault(tmp_path, suffix):
    source = write_video(tmp_path / f"in{suffix}", STEADY[:10], sound_from=Fraction(2))
    result = copy(source, tmp_path / "out.mkv")
    assert result.complete and not result.faults


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_frames_before_the_first_that_decodes_are_counted(tmp_path, suffix):
    source = write_video(tmp_path / "in.mkv", STEADY, options={"g": "40", "bf": "0", "sc_threshold": "0"})
    late = remux(source, tmp_path / f"late{suffix}", lambda number, p: bytes(p) if number > 24 else None)
    result = copy(late, tmp_path / "out.mkv")
    assert result.frames == 60 and len(result.faults.lost) == 15 and not result.complete
    assert "15 frames at the start could not be decoded" in str(result.faults)


def test_a_part_that_begins_between_key_frames_lacks_nothing(tmp_path):
    source = write_video(tmp_path / "in.mkv", [512 * n for n in range(400)], options={"g": "90", "bf": "2"})
    result = copy(source, tmp_path / "out.mkv", start_s=Fraction(13), end_s=Fraction(14))
    assert result.frames == 25 and not result.faults


def test_a_packet_that_gives_no_frame_and_no_error_is_stood_in_for(tmp_path):
    source = write_video(tmp_path / "in.mkv", STEADY, options={"bf": "0", "g": "25"})
    empty = b"\0\0\0\2\x09\xf0"  # an access unit delimiter alone
    swallowed = remux(source, tmp_path / "swallowed.mkv", lambda n, p: empty if n in (30, 31, 60) else bytes(p))
    result = copy(swallowed, tmp_path / "out.mkv", LOSSLESS)
    assert result.frames == 100 and len(result.faults.repeated) >= 3 and result.verification.ok
    frames = read(tmp_path / "out.mkv")
    assert np.array_equal(frames[29].image, frames[30].image) and np.array_equal(frames[29].image, frames[31].image)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"}),
        ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"}),
        ("libx264", {"bf": "4", "b-pyramid": "normal", "x264-params": "open-gop=1:keyint=20"}),
        ("libx265", {"x265-params": "log-level=none:open-gop=1:keyint=20:bframes=4", "preset": "ultrafast"}),
        ("mpeg2video", {"bf": "2", "flags": "+ildct+ilme"}),
        ("libsvtav1", {"preset": "10"}),
    ],
)
def test_a_whole_video_has_no_fault_whatever_its_encoder_hides(tmp_path, codec, options):
    suffix = ".webm" if codec.startswith("libvpx") else ".mkv"
    images = [sample_image(n, 96, 128) for n in range(60)]
    facts = {"codec": codec, "options": options, "images": images, "size": (96, 128)}
    if codec == "mpeg2video":
        facts |= {"time_base": Fraction(1, 25), "last_duration": 1}
    source = write_video(tmp_path / f"in{suffix}", list(range(60)) if codec == "mpeg2video" else STEADY[:60], **facts)
    frames = VideoSource(probe(source))
    assert len(list(frames.frames())) == 60 and not frames.faults, str(frames.faults)


def joined(tmp_path, first, second):
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    return path


def test_joined_recordings_follow_each_other(tmp_path):
    one = write_video(tmp_path / "one.ts", STEADY[:50], sound_from=Fraction(0))
    two = write_video(tmp_path / "two.ts", STEADY[:50], sound_from=Fraction(0))
    result = copy(joined(tmp_path, one, two), tmp_path / "out.mkv")
    assert result.frames == 100 and len(result.faults.joined) == 1 and "starts again" in str(result.faults)
    times = read_times(tmp_path / "out.mkv")
    steps = np.diff([float(time) for time in times])
    assert np.allclose(np.delete(steps, 49), 0.04, atol=0.0011) and 0.02 < steps[49] < 0.2
    sound = [time for time, _ in packets(tmp_path / "out.mkv", "audio")]
    assert sound == sorted(sound) and float(sound[-1]) > 2.5
    assert len(sound) == len(packets(one, "audio")) + len(packets(two, "audio"))


def test_equal_times_are_counted(tmp_path):
    source = write_video(tmp_path / "in.mkv", STEADY[:20], options={"bf": "0"})

    with av.open(str(source)) as opened, av.open(str(tmp_path / "equal.mkv"), "w") as output:
        stream = output.add_stream_from_template(opened.streams.video[0])
        last = None
        for number, packet in enumerate(p for p in opened.demux(video=0) if p.size):
            if number == 10:
                packet.pts = packet.dts = last
            last, packet.stream = packet.pts, stream
            output.mux_one(packet)
    result = copy(tmp_path / "equal.mkv", tmp_path / "out.mkv")
    assert result.frames == 20 and result.faults.moved == 1 and "moved behind" in str(result.faults)


def test_a_change_of_size_is_said_and_keeps_the_aspect(tmp_path):
    wide = write_video(
        tmp_path / "wide.ts", STEADY[:20], size=(48, 128), images=[np.full((48, 128, 3), 200, np.uint8)] * 20
    )
    square = write_video(
        tmp_path / "square.ts", STEADY[:20], size=(48, 48), images=[np.full((48, 48, 3), 200, np.uint8)] * 20
    )
    source = joined(tmp_path, wide, square)
    result = copy(source, tmp_path / "out.mkv", LOSSLESS)
    assert "the size changes from 128 x 48 to 48 x 48" in str(result.faults) and result.complete
    last = read(tmp_path / "out.mkv")[-1].image
    assert last.shape == (48, 128, 3)
    assert abs(int(last[24, 64, 0]) - 200) < 4 and last[:, :38].max() < 4 and last[:, 90:].max() < 4
    with pytest.raises(MediaError, match=r"size changes .* with --strict"):
        copy(source, tmp_path / "strict.mkv", strict=True)


def test_transparency_that_begins_later_is_kept(tmp_path):
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "bgra"
        for number in range(12):
            pixels = np.full((16, 32, 4), 255, np.uint8)
            pixels[..., 3] = 255 if number < 5 else 100
            frame = av.VideoFrame.from_ndarray(pixels, "bgra")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    assert probe(path).alpha
    copy(path, tmp_path / "out.mkv", LOSSLESS)
    frames = read(tmp_path / "out.mkv")
    assert frames[0].alpha.min() == 255 and frames[-1].alpha.max() == 100


@pytest.mark.parametrize(
    "name", ["Pilot:1.mp4", "file:x.mp4", "data:x.mp4", "concat:a|b.mp4", "pipe:0.mp4", "http:x.mp4"]
)
def test_every_name_is_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", STEADY[:5]).rename(tmp_path / name)
    from pathlib import Path

    assert copy(Path(name), Path("out:1.mkv")).frames == 5 and (tmp_path / "out:1.mkv").is_file()


def test_slow_work_after_the_decoder_is_not_taken_for_a_dead_decoder(tmp_path, monkeypatch):
    from osediff_video import chain

    pauses = [1.3, 1.3]  # longer than a second, after which whoever waits looks at the decoder

    class Slow(PlainResize):
        def drafts(self, images, *rest):
            time.sleep(pauses.pop() if pauses else 0)
            return super().drafts(images, *rest)

    monkeypatch.setattr(chain, "DECODER_PATIENCE_S", 0.3)
    source = write_video(tmp_path / "in.mp4", STEADY[:14])
    options = VideoOptions(temporal="off")
    assert upscale_video(source, tmp_path / "out.mkv", Slow(), FAST, options).frames == 14
    assert not pauses


def test_damage_of_either_video_is_said_of_a_comparison(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", STEADY)
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 3 // 4])
    for number, pair in enumerate([(whole, tmp_path / "cut.mkv"), (tmp_path / "cut.mkv", whole)]):
        target = tmp_path / f"{number}.mp4"
        plan = plan_opened(open_comparison(*pair, "side"), pair[1], target, 1.0, FAST, sources=pair)
        result = carry_out(plan, PlainResize())
        assert not result.complete and "ends early" in str(result.faults)


def test_reading_again_counts_anew(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", STEADY)
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 3 // 4])
    source = VideoSource(probe(tmp_path / "cut.mkv"))
    messages = []
    for _ in range(2):
        list(source.frames())
        messages.append(str(source.faults))
    assert messages[0] == messages[1] != ""
