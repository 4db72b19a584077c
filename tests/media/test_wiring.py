"""Settings arrive at the encoder, seeking is reading less, and what goes wrong between the parts is noticed."""

import os
import sys
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest
from PIL import Image

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.cut import WHOLE
from osediff_video.media.deinterlace import look_for_fields
from osediff_video.media.extras import captions_of
from osediff_video.media.gif_tags import gif_tags
from osediff_video.media.probe import probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.media.streams import OtherStreams
from osediff_video.media.verify import verify
from osediff_video.media.writing import encoder
from osediff_video.media.writing import segment as segments
from osediff_video.media.writing.assemble import Assembly, video_packets
from osediff_video.media.writing.encoder import plan_encoder
from osediff_video.media.writing.segment import SegmentWriter
from osediff_video.media.writing.stdout import write_pipe
from osediff_video.types import Bookmark, ColorTags, Frame, checksum_of
from tests.support.media_files import copy, info, packets, read_times, sample_image, write_video
from tests.support.rich_video import write_rich


def test_settings_of_the_encoder_arrive(monkeypatch):
    monkeypatch.setattr(encoder, "processor_features", set)

    def options(suffix=".mkv", **settings):
        return dict(plan_encoder(info(), 64, 48, Encoding(**settings), suffix).options)

    assert options() == {"crf": "16", "threads": "8"}
    assert options(crf=30, preset="slow", options={"g": "5"}) | {"threads": "8"} == {
        "crf": "30", "preset": "slow", "g": "5", "threads": "8",
    }  # fmt: skip
    assert "crf" not in options(options={"qp": "0"})
    assert [options(codec=codec)["crf"] for codec in ("x264", "x265", "av1", "vp9")] == ["16", "18", "20", "20"]


@pytest.mark.parametrize(("transfer", "codec"), [(16, "libx265"), (18, "libx265"), (1, "libx264")])
def test_pq_and_hlg_are_hdr(transfer, codec):
    deep = info(bit_depth=10, pix_fmt="yuv420p10le", color=ColorTags(9, 9, transfer, False))
    assert plan_encoder(deep, 64, 48, Encoding(), ".mkv").codec == codec


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A minute of ten frames a second, a key frame every second."""
    path = tmp_path_factory.mktemp("long") / "in.mkv"
    return write_video(path, [100 * n for n in range(600)], time_base=Fraction(1, 1000), size=(16, 16),
                       options={"g": "10", "bf": "2", "preset": "ultrafast"})  # fmt: skip


def test_seeking_is_reading_less(long, monkeypatch):
    """From 40 s on the same frames come as of the whole, without decoding what lies long before."""
    whole = [(f.pts, f.image.tobytes()) for f in VideoSource(probe(long)).frames()]
    decoded, real = [], VideoSource.packets

    def counted(self, *words):
        for packet in real(self, *words):
            decoded.append(packet.pts)
            yield packet

    monkeypatch.setattr(VideoSource, "packets", counted)
    part = [(f.pts, f.image.tobytes()) for f in VideoSource(probe(long), start_s=Fraction(40)).frames()]
    assert part == whole[400:] and min(time for time in decoded if time is not None) >= 30_000


def test_an_index_that_lies_loses_no_frame(long, monkeypatch):
    """Where seeking lands behind the place, all is read from the beginning."""
    real, source = VideoSource.decode, VideoSource(probe(long), start_s=Fraction(40))

    def late(self, container, stream, start_s=None, sought=False):
        frames = real(self, container, stream, start_s, sought)
        return (frame for frame in frames if frame[1] > 45_000) if sought else frames

    monkeypatch.setattr(VideoSource, "decode", late)
    assert [frame.pts for frame in source.frames()][:2] == [40_000, 40_100]


def test_a_container_that_moves_everything_moves_nothing(tmp_path):
    """Matroska knows no times below zero: a shift of all streams together is no error."""
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(20)], options={"preset": "ultrafast"})
    times = [512 * (n - 3) for n in range(20)]  # as if the source had begun before zero
    check = verify(source, Fraction(1, 12800), write_video(
        tmp_path / "out.mkv", [40 * n for n in range(20)], time_base=Fraction(1, 1000), options={"preset": "ultrafast"}
    ), times)  # fmt: skip
    assert check.ok and check.shift_s == Fraction(3, 25)


def written(folder, count=6, start=0, codec="ffv1"):
    folder.mkdir(exist_ok=True)
    writer = SegmentWriter(folder, 0, plan_encoder(info(), 64, 48, Encoding(codec), ".mkv"))
    for number in range(start, count):
        writer.write(Frame(sample_image(number), 512 * number, 512))
    return writer


def test_a_segment_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    done, real = [], segments.flush_to_disk

    def flushed(path):
        done.append((path.name, sorted(file.name for file in tmp_path.iterdir())))
        real(path)

    monkeypatch.setattr(segments, "flush_to_disk", flushed)
    written(tmp_path).finish()
    assert done[0] == ("00000.mkv.part", ["00000.mkv.part"])  # the first: neither its name nor its record is there yet


def test_an_encoder_that_swallows_a_frame_is_noticed(tmp_path, monkeypatch):
    writer = written(tmp_path)
    monkeypatch.setattr(writer.encoder, "encode", lambda _: [])
    writer.write(Frame(sample_image(9), 512 * 9, 512))
    with pytest.raises(OutputError, match="made 6 packets of 7 frames"):
        writer.finish()


@pytest.mark.parametrize(("held", "said"), [(5, "holds 5 frames, its record says 6"), (7, "holds more frames")])
def test_a_segment_that_does_not_hold_what_its_record_says_is_not_joined(tmp_path, held, said):
    record = written(tmp_path / "one").finish()
    written(tmp_path / "other", held).finish()
    (tmp_path / "other" / "00000.mkv").replace(tmp_path / "one" / "00000.mkv")
    assembly = Assembly([record], tmp_path / "one", Fraction(1, 12800), Fraction(25), None, [])
    with pytest.raises(MediaError, match=said):
        list(video_packets(assembly))


def test_a_pipe_that_closes_early_is_an_error(monkeypatch):
    """What the last flush cannot deliver was not delivered."""

    class Closing:
        def write(self, data):
            return len(data)

        def flush(self):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=Closing()))
    frames = [Frame(sample_image(n), 512 * n, 512) for n in range(3)]
    with pytest.raises(OutputError, match="after 3 frames"):
        write_pipe(frames, plan_encoder(info(), 64, 48, Encoding("ffv1"), ".mkv"), "matroska")


class Refusing:
    """An output that takes no packet."""

    def __init__(self, output):
        self.output = output

    def __getattr__(self, name):
        return getattr(self.output, name)

    def mux_one(self, _):
        raise av.InvalidDataError(1, "refused")


def test_packets_that_cannot_be_written_are_counted(tmp_path):
    from osediff_video.media.stream_plan import plan_streams

    source = write_video(tmp_path / "in.mkv", [40 * n for n in range(5)], time_base=Fraction(1, 1000),
                         sound_from=Fraction(0))  # fmt: skip
    sounds = len(packets(source, "audio"))
    plans = plan_streams(source, "matroska")
    with av.open(str(tmp_path / "out.mkv"), "w") as output, OtherStreams(source, plans, output, WHOLE) as others:
        others.output = Refusing(output)
        others.mux_until(None)
        assert others.lost == sounds and others.payloads == {}
        assert others.notes == [f"{sounds} damaged packets of other streams could not be written"]


def test_packets_out_of_order_are_moved_and_counted(tmp_path):
    source = write_video(tmp_path / "in.mkv", [0, 40], time_base=Fraction(1, 1000), sound_from=Fraction(0))
    with av.open(str(tmp_path / "out.mkv"), "w") as output, OtherStreams(source, [], output, WHOLE) as others:
        stream = output.add_stream("aac", rate=48000)
        moved = []
        for time in (10, 30, 20, 40):
            packet = av.Packet(b"x")
            packet.pts = packet.dts = time
            packet.stream = stream
            others.put_in_order(packet)
            moved.append(packet.dts)
    assert moved == [10, 30, 30, 40] and others.moved == 1 and "were moved" in others.notes[0]


def test_a_name_is_never_an_address():
    from pathlib import Path

    from osediff_video.media.container import ffmpeg_name

    assert ffmpeg_name(Path("http:/example/x.mkv")) == f"file:{Path.cwd()}{os.sep}http:{os.sep}example{os.sep}x.mkv"


def test_a_part_begins_at_its_start_and_ends_before_its_end(long):
    source = VideoSource(probe(long), start_s=Fraction(20), end_s=Fraction(21))
    assert [frame.pts for frame in source.frames()] == list(range(20_000, 21_000, 100))


def test_a_place_is_known_by_its_image_too(long, monkeypatch):
    """Where another image stands at the time of a bookmark, all is read from the beginning."""
    source, real = VideoSource(probe(long)), VideoSource.decoded
    frames = list(source.frames())
    mark = Bookmark(400, frames[400].pts, checksum_of(frames[400].image))

    def other(self, start_s, skip):
        frames = real(self, start_s, skip)
        return frames if start_s is None else (replace(frame, image=255 - frame.image) for frame in frames)

    monkeypatch.setattr(VideoSource, "decoded", other)
    result = list(source.frames(400, mark))
    assert [f.image.tobytes() for f in result] == [f.image.tobytes() for f in frames[400:]]


def test_sound_lies_beside_its_images_in_the_file(tmp_path):
    """A player that reads on need not seek; the order of a demuxer does not show it, the places in the file do."""
    source = write_video(tmp_path / "in.mkv", [100 * n for n in range(300)], time_base=Fraction(1, 1000), size=(16, 16),
                         sound_from=Fraction(1), options={"preset": "ultrafast"})  # fmt: skip
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = sorted((packet.pos, packet.stream.type) for packet in container.demux() if packet.size)
    assert [kind for _, kind in places].index("audio") < 40  # of ten images a second, from the first second on


def test_an_mp4_begins_at_the_very_time_of_its_source(tmp_path):
    """Its edit list counts in units of its own, which must hold every time too."""
    source = write_video(tmp_path / "in.ts", [10_010 + 3003 * n for n in range(10)], time_base=Fraction(1, 90_000),
                         last_duration=3003)  # fmt: skip
    copy(source, tmp_path / "out.mp4")
    assert read_times(tmp_path / "out.mp4") == read_times(source)


def test_text_that_must_be_converted_is_a_loss(tmp_path):
    with pytest.raises(OutputError, match="subtitle"):
        copy(write_rich(tmp_path / "in.mkv", frames=5), tmp_path / "out.mp4", strict=True)


@pytest.mark.parametrize(("code_range", "full"), [(2, True), (1, False)])
def test_the_range_of_deep_samples_is_that_of_the_tag(tmp_path, code_range, full):
    path = tmp_path / "in.mkv"
    write_video(path, [0, 512], codec="ffv1", pix_fmt="yuv420p10le", tags=(1, code_range, 1, 1))
    assert probe(path).color.full_range == full


def test_a_line_of_subtitles_ends_with_the_part(tmp_path):
    copy(write_rich(tmp_path / "in.mkv", frames=30), tmp_path / "out.mkv", end_s=Fraction(1, 2))
    with av.open(str(tmp_path / "out.mkv")) as container:
        lines = [(p.pts, p.duration) for p in container.demux(container.streams.subtitles[0]) if p.size]
    assert lines and all(begin + length <= 500 for begin, length in lines)


def test_whole_images_that_are_only_called_interlaced_are_left_alone(tmp_path):
    source = write_video(tmp_path / "in.mkv", list(range(30)), codec="mpeg2video", time_base=Fraction(1, 25),
                         options={"flags": "+ildct+ilme"}, last_duration=1)  # fmt: skip
    assert probe(source).interlaced and look_for_fields(source) == (False, None)


@pytest.mark.parametrize("triplets", [1, 31, 32, 70])
def test_captions_of_any_length_arrive(tmp_path, triplets):
    """A message holds 31 triplets; what is more needs another one."""
    text = b"".join(bytes([0xFC, 0x20 + number, 0x41]) for number in range(triplets))
    writer = SegmentWriter(tmp_path, 0, plan_encoder(info(), 64, 48, Encoding("x264"), ".mkv"))
    writer.write(Frame(sample_image(0), 0, 512, captions=text))
    with av.open(str(writer.finish().file(tmp_path))) as container:
        assert captions_of(next(container.decode(video=0))) == text


@pytest.mark.parametrize(("times", "loop"), [(0, 0), (1, -1), (3, 2)])
def test_a_gif_is_shown_as_often_as_the_animation_it_was_made_of(tmp_path, times, loop):
    """WebP counts the first time too, GIF does not: 0 is for ever in both, and -1 of FFmpeg once."""
    frames = [Image.fromarray(sample_image(n)) for n in range(2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, loop=times)
    assert gif_tags(tmp_path / "a.webp").loop == loop
