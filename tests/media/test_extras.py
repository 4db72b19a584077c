"""What travels inside a video stream beside its images is carried or named before work."""

from fractions import Fraction

import av
import pytest

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.extras import CAPTIONS, DOLBY_VISION, SECOND_LAYER, captions_of, extras_in, find_extras
from osediff_video.media.stream_plan import plan_streams
from osediff_video.media.writing.captions import sei_unit, t35_message, with_captions
from tests.support.media_files import copy, sample_image, write_video

COUNT = 12


def text(number):
    """Captions of one frame; the zeros need escaping."""
    return b"\xfc\x94" + bytes([number]) + b"\xff\x00\x00" * (number % 3) + b"\xfc\x00\x01" * 28 * (number == 5)


def write_captioned(path, codec="libx264", kind="h264", start=0):
    """A video whose frames from `start` on have captions of their own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(sample_image(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            number = packet.pts
            container.mux(with_captions(packet, text(number), kind) if number >= start else packet)
    return path


def captions(path):
    with av.open(str(path)) as container:
        return [captions_of(frame) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mkv", "x264"), (".mp4", "x264"), (".ts", "x264"), (".mp4", "x265"), (".mkv", "av1")]
)
def test_captions_stay_with_their_frames(tmp_path, suffix, codec):
    source = write_captioned(tmp_path / "in.ts")
    assert captions(source) == [text(number) for number in range(COUNT)]
    options = Encoding(codec=codec, preset="12" if codec == "av1" else "veryfast")
    result = copy(source, tmp_path / f"out{suffix}", options, strict=True)
    assert captions(result.target) == captions(source) and result.verification.ok


def test_captions_move_with_a_cut(tmp_path):
    source = write_captioned(tmp_path / "in.mkv")
    copy(source, tmp_path / "out.mkv", start_s=Fraction(1, 5))
    assert captions(tmp_path / "out.mkv") == [text(number) for number in range(5, COUNT)]


@pytest.mark.parametrize("suffix", [".webm", ".mov", ".gif"])
def test_captions_that_cannot_be_kept_are_named_and_counted(tmp_path, suffix):
    source = write_captioned(tmp_path / "in.ts", start=COUNT - 1)
    encoding = Encoding(codec="prores") if suffix == ".mov" else Encoding()
    with pytest.raises(OutputError, match="captions"):
        copy(source, tmp_path / f"out{suffix}", encoding, strict=True)
    assert any("captions" in note for note in copy(source, tmp_path / f"out{suffix}", encoding).notes)


def test_packets_show_what_decoders_hide():
    units = {
        b"\x00\x00\x01\x7c\x01" + bytes(8): {DOLBY_VISION},
        b"\x00\x00\x01\x26\x09" + bytes([7] * 8): {SECOND_LAYER},
        b"\x00\x00\x01\x26\x01" + bytes([7] * 8): set(),
        sei_unit(t35_message(b"\xfc\x94\x2c"), "hevc"): {CAPTIONS},
    }
    for data, extras in units.items():
        assert extras_in(av.Packet(data), "hevc", b"") == extras


def test_stereo_is_kept_by_matroska_and_named_elsewhere(tmp_path):
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["stereo_mode"] = "left_right"
        for number in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(sample_image(number), "rgb24")))
        container.mux(stream.encode())
    copy(source, tmp_path / "out.mkv", strict=True)
    assert find_extras(tmp_path / "out.mkv") == find_extras(source)
    with pytest.raises(OutputError, match="stereo"):
        copy(source, tmp_path / "out.mp4", strict=True)


def test_a_second_video_is_copied_and_it_is_said(tmp_path):
    first, second = write_video(tmp_path / "a.mkv", [0, 512, 1024]), tmp_path / "two.mkv"
    with av.open(str(second), "w") as output, av.open(str(first)) as one, av.open(str(first)) as two:
        inputs = [one, two]
        streams = [output.add_stream_from_template(item.streams.video[0], opaque=True) for item in inputs]
        for item, stream in zip(inputs, streams, strict=True):
            for packet in item.demux(item.streams.video[0]):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
    plans = plan_streams(second, "matroska")
    assert [plan.action for plan in plans] == ["upscale", "copy"] and "only one video is upscaled" in plans[1].fate


@pytest.mark.parametrize(("codec", "kept"), [("timed_id3", True), ("klv", True), ("scte_35", False)])
def test_data_of_a_transport_stream_is_copied_where_it_stays_readable_and_named_where_not(tmp_path, codec, kept):
    """FFmpeg's muxer writes messages of SCTE-35 in a form that nobody reads."""
    source, target = tmp_path / "in.ts", tmp_path / "out.ts"
    with av.open(str(source), "w") as container:
        video, data = container.add_stream("mpeg2video", rate=25), container.add_data_stream(codec)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        data.time_base = Fraction(1, 90000)
        for number in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(sample_image(number), "rgb24").reformat(64, 48)))
            message = av.Packet(f"message {number}".encode())
            message.stream, message.time_base, message.pts, message.dts = data, data.time_base, *[3600 * number] * 2
            container.mux(message)
        container.mux(video.encode(None))
    plan = plan_streams(source, "mpegts")[1]
    assert plan.action == ("copy" if kept else "drop") and plan.kind == "data"
    if not kept:
        with pytest.raises(OutputError, match="may be lost"):
            copy(source, target, strict=True)
        return
    assert copy(source, target, strict=True).verification.ok
    with av.open(str(target)) as container:
        data = container.streams.data[0]
        assert [bytes(p).decode() for p in container.demux(data) if p.size] == [f"message {n}" for n in range(25)]
        assert data.name == codec
