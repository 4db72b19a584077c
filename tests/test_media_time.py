"""Every frame, every timestamp and every sound packet arrives."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reader import read_frames
from osediff_video.media.verify import verify
from osediff_video.media.writer import VideoWriter
from osediff_video.types import Frame
from tests.media_files import info, packets, picture, write_film

STEADY = [512 * n for n in range(30)]
UNEVEN = [0, 300, 1700, 1701, 4000, 4512, 9000, 9100, 20000, 20400, 31000, 31001]
LATE = [12800 * 10 + 512 * n for n in range(12)]
FAST = Encoding(preset="veryfast")


def copy(source, target, encoding=FAST):
    """Read and write without changing a pixel on purpose."""
    facts = probe(source)
    with VideoWriter(target, facts, facts.width, facts.height, encoding, source) as writer:
        frames = list(read_frames(facts))
        for frame in frames:
            writer.write(frame)
    return facts, frames


@pytest.mark.parametrize("pts", [STEADY, UNEVEN, LATE], ids=["steady", "uneven", "late"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_are_exact_in_mp4(tmp_path, pts, suffix):
    source = write_film(tmp_path / f"in{suffix}", pts, options={"bf": "3"})
    facts, frames = copy(source, tmp_path / f"out{suffix}")
    assert [frame.pts for frame in frames] == pts
    assert all(a.pts + a.duration == b.pts for a, b in itertools.pairwise(frames))
    again = probe(tmp_path / f"out{suffix}")
    assert [f.pts * again.time_base for f in read_frames(again)] == [p * facts.time_base for p in pts]
    check = verify(facts, tmp_path / f"out{suffix}", pts)
    assert check.ok and check.largest_error_s == 0


@pytest.mark.parametrize("pts", [STEADY, UNEVEN, LATE], ids=["steady", "uneven", "late"])
def test_times_are_within_half_a_millisecond_in_matroska(tmp_path, pts):
    facts, _ = copy(write_film(tmp_path / "in.mp4", pts), tmp_path / "out.mkv")
    check = verify(facts, tmp_path / "out.mkv", pts)
    assert check.ok and check.largest_error_s <= Fraction(1, 2000)


def test_the_last_frames_duration_is_kept(tmp_path):
    source = write_film(tmp_path / "in.mp4", UNEVEN, last_duration=7777)
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        last = max((p for p in container.demux(video=0) if p.size), key=lambda p: p.pts)
        assert last.duration == 7777


def test_a_missing_frame_or_a_moved_one_is_noticed(tmp_path):
    facts, _ = copy(write_film(tmp_path / "in.mp4", STEADY), tmp_path / "out.mp4")
    assert not verify(facts, tmp_path / "out.mp4", [*STEADY, 30 * 512]).ok
    moved = verify(facts, tmp_path / "out.mp4", [*STEADY[:-1], STEADY[-1] + 1])
    assert not moved.ok and "WRONG" in str(moved)


@pytest.mark.parametrize(("source", "target"), [(".mp4", ".mp4"), (".mkv", ".mkv"), (".mp4", ".mkv"), (".mp4", ".mov")])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3)])
def test_sound_is_copied_byte_by_byte_and_stays_in_sync(tmp_path, source, target, start):
    before = write_film(tmp_path / f"in{source}", STEADY, sound_from=start, sounds=2)
    after = tmp_path / f"out{target}"
    copy(before, after)
    for track in range(2):
        old, new = (packets(path, "audio", track) for path in (before, after))
        assert [data for _, data in old] == [data for _, data in new]
        offsets = [min(sound)[0] - min(packets(path, "video"))[0] for path, sound in ((before, old), (after, new))]
        assert abs(offsets[0] - offsets[1]) <= Fraction(1, 1000)
    with av.open(str(after)) as container:
        assert [stream.metadata.get("language") for stream in container.streams.audio] == ["eng", "fra"]


def test_sound_and_pictures_are_interleaved(tmp_path):
    source = write_film(tmp_path / "in.mp4", STEADY, sound_from=Fraction(0))
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert "audio" in kinds[:8] and "video" in kinds[-25:]


@pytest.mark.parametrize(
    ("suffix", "encoding"),
    [(".mkv", Encoding("ffv1", pix_fmt="bgr0")), (".mp4", Encoding("libx264", pix_fmt="yuv444p", options={"qp": "0"}))],
)
def test_a_lossless_round_trip_is_within_one_level(tmp_path, suffix, encoding):
    images = [picture(n) for n in range(10)]
    path = tmp_path / f"out{suffix}"
    with VideoWriter(path, info(), 64, 48, encoding, None) as writer:
        for index, image in enumerate(images):
            writer.write(Frame(image, 512 * index, 512))
    for image, frame in zip(images, read_frames(probe(path)), strict=True):
        assert np.abs(frame.image.astype(int) - image).max() <= 1


def test_ten_bits_stay_more_than_eight(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64, 1).repeat(3, 2).astype(np.uint16)
    source = write_film(
        tmp_path / "in.mkv",
        [0, 40],
        time_base=Fraction(1, 1000),
        codec="ffv1",
        pix_fmt="yuv444p10le",
        images=[ramp] * 2,
    )
    facts, frames = copy(source, tmp_path / "out.mkv", Encoding("ffv1", pix_fmt="yuv444p10le"))
    assert facts.bit_depth == 10 and frames[0].image.dtype == np.uint16 and len(np.unique(frames[0].image)) > 500
    again = next(iter(read_frames(probe(tmp_path / "out.mkv"))))
    assert np.abs(again.image.astype(int) - frames[0].image.astype(int)).max() <= 65  # one code value of 10 bit
    with VideoWriter(tmp_path / "default.mp4", facts, 64, 48, Encoding(), None) as writer:
        assert writer.pix_fmt == "yuv420p10le"
        writer.write(frames[0])


def test_odd_sizes_come_out_exactly(tmp_path):
    source = write_film(tmp_path / "in.mkv", [0, 40], time_base=Fraction(1, 1000), codec="ffv1", size=(33, 51))
    facts = probe(source)
    with VideoWriter(tmp_path / "out.mp4", facts, 51, 33, FAST, None) as writer:
        assert "odd" in writer.notes[0]
        for frame in read_frames(facts):
            writer.write(frame)
    again = probe(tmp_path / "out.mp4")
    assert (again.width, again.height) == (51, 33)


def test_colour_tags_and_pixel_aspect_are_written(tmp_path):
    facts = info(sample_aspect_ratio=Fraction(16, 11))
    with VideoWriter(tmp_path / "out.mp4", facts, 64, 48, FAST, None) as writer:
        writer.write(Frame(picture(0), 0, 512))
    again = probe(tmp_path / "out.mp4")
    assert again.color == facts.color and again.sample_aspect_ratio == Fraction(16, 11)
