"""Everything beside the images arrives: sound, subtitles, chapters, fonts, covers, tags."""

from fractions import Fraction

import av
import pytest
from av.stream import Disposition

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.stream_plan import plan_streams
from tests.support.media_files import copy, packets, read, read_times, write_video
from tests.support.rich_video import LINES, cover, write_rich


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return write_rich(tmp_path_factory.mktemp("rich") / "rich.mkv")


def held(path):
    """kind -> list of what the streams of that kind hold."""
    actual = {}
    with av.open(str(path)) as container:
        for stream in container.streams:
            data = (
                stream.data
                if stream.type == "attachment"
                else [(p.pts, p.duration, bytes(p)) for p in container.demux(stream) if p.size]
            )
            container.seek(0)
            kind = "cover" if stream.disposition & Disposition.attached_pic else stream.type
            actual.setdefault(kind, []).append((stream.metadata.get("language"), stream.disposition, data))
        chapters = [(c["start"] * c["time_base"], c["metadata"]["title"]) for c in container.chapters()]
        return actual, chapters, dict(container.metadata)


def text(payload):
    return payload[2:].split(b"\0")[0] if payload[:1] == b"\0" else payload.split(b",")[-1]


def test_matroska_to_matroska_keeps_everything(rich, tmp_path):
    result = copy(rich, tmp_path / "out.mkv")
    before, after = held(rich), held(tmp_path / "out.mkv")
    assert before[0].keys() == after[0].keys()
    for kind in ("audio", "subtitle", "attachment", "cover"):
        assert [entry[2] for entry in before[0][kind]] == [entry[2] for entry in after[0][kind]], kind
        assert [entry[:2] for entry in before[0][kind]] == [entry[:2] for entry in after[0][kind]], kind
    assert before[1] == after[1] and after[2]["title"] == "Everything" and after[2]["COMMENT"] == "ours"
    assert result.verification.ok


def test_to_mp4_and_back(rich, tmp_path):
    there, back = tmp_path / "out.mp4", tmp_path / "back.mkv"
    assert copy(rich, there).verification.ok and copy(there, back).verification.ok
    streams, chapters, tags = held(there)
    assert [entry[0] for entry in streams["audio"]] == ["eng", "fra"]
    assert chapters == [(0, "Part 1"), (Fraction(3, 5), "Part 2"), (Fraction(7, 5), "Part 3")]
    assert streams["cover"][0][2][0][2] == cover() and tags["title"] == "Everything"
    for _, _, lines in streams["subtitle"]:
        assert [(p, d) for p, d, payload in lines if len(payload) > 2] == [line[:2] for line in LINES]
        assert b"Hello there" in lines[1][2]
    streams, chapters_back, _ = held(back)
    assert chapters_back == chapters and streams["cover"][0][2][0][2] == cover()
    assert streams["subtitle"][0][2][0] == (200, 400, b"Hello <i>there</i>")
    assert [data for _, data in packets(rich, "audio", 1)] == [data for _, data in packets(back, "audio", 1)]


@pytest.mark.parametrize(
    ("suffix", "actions"),
    [
        (".mkv", ["upscale", "copy", "copy", "copy", "copy", "copy", "attach"]),
        (".mp4", ["upscale", "copy", "copy", "convert", "convert", "drop", "copy"]),
        (".mov", ["upscale", "copy", "copy", "convert", "convert", "drop", "drop"]),
        (".webm", ["upscale", "convert", "convert", "convert", "convert", "drop", "drop"]),
        (".ts", ["drop", "drop", "upscale", "copy", "copy", "drop", "drop", "drop", "drop"]),
    ],
)
def test_what_becomes_of_each_stream_is_decided_before_work(rich, suffix, actions):
    from osediff_video.suffixes import CONTAINERS

    plans = plan_streams(rich, CONTAINERS[suffix])
    assert [plan.action for plan in plans] == actions
    assert all(plan.reason for plan in plans if plan.lossy)


@pytest.mark.parametrize("suffix", [".webm", ".ts", ".mov"])
def test_other_containers_come_out_whole(rich, tmp_path, suffix):
    encoding = Encoding(options={"deadline": "realtime", "cpu-used": "8"}) if suffix == ".webm" else Encoding()
    result = copy(rich, tmp_path / f"out{suffix}", encoding)
    assert result.verification.ok and result.frames == 50
    streams, _, _ = held(tmp_path / f"out{suffix}")
    assert len(streams["audio"]) == 2 and sum(d for _, d, _ in streams["audio"][0][2]) > 0


def test_strict_refuses_before_work(rich, tmp_path):
    with pytest.raises(OutputError, match=r"font.*|attachment"):
        copy(rich, tmp_path / "out.mp4", strict=True)
    assert not list(tmp_path.iterdir())
    copy(rich, tmp_path / "out.mkv", strict=True)


def test_a_cut_takes_sound_subtitles_and_chapters_along(rich, tmp_path):
    result = copy(rich, tmp_path / "out.mkv", start_s=Fraction(1, 2), end_s=Fraction(3, 2))
    # the first frame at or after half a second is at 0.52 s and becomes zero
    assert result.frames == 25 and read_times(tmp_path / "out.mkv")[:2] == [0, Fraction(1, 25)]
    streams, chapters, _ = held(tmp_path / "out.mkv")
    assert [(p, d) for p, d, _ in streams["subtitle"][0][2]] == [(0, 80), (180, 500)]
    assert chapters == [(0, "Part 1"), (Fraction(2, 25), "Part 2"), (Fraction(22, 25), "Part 3")]
    times = [time for time, _ in packets(tmp_path / "out.mkv", "audio")]
    assert 0 <= times[0] < Fraction(22, 1000) and times[-1] < Fraction(99, 100)
    whole, part = ({data: time for time, data in packets(p, "audio")} for p in (rich, tmp_path / "out.mkv"))
    assert all(abs(whole[data] - time - Fraction(52, 100)) <= Fraction(1, 1000) for data, time in part.items())


def test_a_cut_at_the_end_alone_moves_nothing(tmp_path):
    source = write_video(tmp_path / "in.mp4", [5120 + 512 * n for n in range(30)], sound_from=Fraction(1, 2))
    copy(source, tmp_path / "out.mp4", end_s=Fraction(1))  # counted from the first frame
    assert read_times(tmp_path / "out.mp4") == [Fraction(2, 5) + Fraction(n, 25) for n in range(25)]


def test_sound_that_a_container_refuses_is_converted_and_stays_in_sync(tmp_path):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(40)], sound_from=Fraction(1, 5))
    result = copy(source, tmp_path / "out.webm", Encoding(options={"deadline": "realtime", "cpu-used": "8"}))
    assert result.verification.ok and abs(result.verification.sound_error_s) <= Fraction(1, 1000)


@pytest.mark.parametrize(("suffix", "action"), [(".mov", "rewrite"), (".mp4", "rewrite"), (".mkv", "rewrite")])
def test_time_code_stays(tmp_path, suffix, action):
    from osediff_video.suffixes import CONTAINERS

    source = write_video(tmp_path / "in.mov", [512 * n for n in range(10)], timecode="01:02:03:04")
    assert [p.action for p in plan_streams(source, CONTAINERS[suffix])] == ["upscale", action]
    copy(source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        tags = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
        assert tags["timecode"] == "01:02:03:04" and len(container.streams) == (1 if suffix == ".mkv" else 2)
    copy(source, tmp_path / f"cut{suffix}", start_s=Fraction(1, 5))
    with av.open(str(tmp_path / f"cut{suffix}")) as container:
        assert not any("timecode" in key.lower() for key in container.streams.video[0].metadata)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_is_named_as_apple_s_players_know_it(tmp_path, suffix):
    options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    source = write_video(tmp_path / "in.mkv", [512 * n for n in range(5)], codec="libx265", options=options)
    copy(source, tmp_path / f"out{suffix}", Encoding("libx265", preset="ultrafast"))
    data = (tmp_path / f"out{suffix}").read_bytes()
    assert b"hvc1" in data and b"hev1" not in data
    assert len(read(tmp_path / f"out{suffix}")) == 5


@pytest.mark.parametrize(("source", "suffix"), [("flac", ".mp4"), ("libopus", ".mp4"), ("flac", ".mkv")])
def test_the_last_sound_is_kept_where_the_source_gives_no_durations(source, suffix, tmp_path):
    path, target = tmp_path / "in.nut", tmp_path / f"out{suffix}"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("ffv1", rate=25), container.add_stream(source, rate=48000, layout="stereo")
        video.width, video.height, video.pix_fmt = 16, 16, "yuv420p"
        for number in range(25):
            container.mux(video.encode(av.VideoFrame(16, 16, "yuv420p")))
            frame = av.AudioFrame("s16", "stereo", 1920)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.rate, frame.pts = 48000, 1920 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert copy(path, target).verification.ok
    assert [data for _, data in packets(path, "audio")] == [data for _, data in packets(target, "audio")]
