"""Every frame, every timestamp and every sound packet arrives."""

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest

from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.verify import verify
from osediff_video.options import VideoOptions
from osediff_video.shots.cuts import mark_listed_cuts
from osediff_video.sources.open import open_source
from tests.support.media_files import copy, packets, read, read_times, write_video

STEADY = [512 * n for n in range(30)]
UNEVEN = [0, 300, 1700, 1701, 4000, 4512, 9000, 9100, 20000, 20400, 31000, 31001]
LATE = [12800 * 10 + 512 * n for n in range(12)]


@pytest.mark.parametrize("pts", [STEADY, UNEVEN, LATE], ids=["steady", "uneven", "late"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_times_are_exact_in_mp4(tmp_path, pts, suffix):
    source = write_video(tmp_path / f"in{suffix}", pts, options={"bf": "3"})
    frames = read(source)
    assert [frame.pts for frame in frames] == pts
    assert all(a.pts + a.duration == b.pts for a, b in itertools.pairwise(frames))
    check = copy(source, tmp_path / f"out{suffix}").verification
    assert check.ok and check.largest_error_s == 0
    assert read_times(tmp_path / f"out{suffix}") == [p * Fraction(1, 12800) for p in pts]


@pytest.mark.parametrize("pts", [STEADY, UNEVEN, LATE], ids=["steady", "uneven", "late"])
def test_times_are_within_half_a_millisecond_in_matroska(tmp_path, pts):
    check = copy(write_video(tmp_path / "in.mp4", pts), tmp_path / "out.mkv").verification
    assert check.ok and check.largest_error_s <= Fraction(1, 2000)


def test_the_last_frames_duration_is_kept(tmp_path):
    source = write_video(tmp_path / "in.mp4", UNEVEN, last_duration=7777)
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        last = max((p for p in container.demux(video=0) if p.size), key=lambda p: p.pts)
        assert last.duration == 7777


def test_a_missing_frame_or_a_moved_one_is_noticed(tmp_path):
    source = write_video(tmp_path / "in.mp4", STEADY)
    facts = probe(source)
    copy(source, tmp_path / "out.mp4")
    assert not verify(source, facts.time_base, tmp_path / "out.mp4", [*STEADY, 30 * 512]).ok
    moved = verify(source, facts.time_base, tmp_path / "out.mp4", [*STEADY[:-1], STEADY[-1] + 1])
    assert not moved.ok and "FAILED" in str(moved)


@pytest.mark.parametrize(("source", "target"), [(".mp4", ".mp4"), (".mkv", ".mkv"), (".mp4", ".mkv"), (".mp4", ".mov")])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 3)])
def test_sound_is_copied_byte_by_byte_and_stays_in_sync(tmp_path, source, target, start):
    before = write_video(tmp_path / f"in{source}", STEADY, sound_from=start, sounds=2)
    after = tmp_path / f"out{target}"
    copy(before, after)
    for track in range(2):
        old, new = (packets(path, "audio", track) for path in (before, after))
        assert [data for _, data in old] == [data for _, data in new]
        offsets = [min(sound)[0] - min(packets(path, "video"))[0] for path, sound in ((before, old), (after, new))]
        assert abs(offsets[0] - offsets[1]) <= Fraction(1, 1000)
    with av.open(str(after)) as container:
        assert [stream.metadata.get("language") for stream in container.streams.audio] == ["eng", "fra"]


def test_sound_and_images_are_interleaved(tmp_path):
    source = write_video(tmp_path / "in.mp4", STEADY, sound_from=Fraction(0))
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    assert "audio" in kinds[:8] and "video" in kinds[-25:]


@pytest.mark.parametrize(
    ("pix_fmt", "worst"),
    [("bgr0", 0), ("yuv444p", 1), ("yuv420p", 2), ("yuv422p", 2), ("gray", 1), ("gbrp10le", 0), ("yuv444p12le", 1)],
)
def test_a_lossless_round_trip_keeps_every_code_value(tmp_path, pix_fmt, worst):
    deep = pix_fmt[-2:] == "le"
    images = [smooth(n, np.uint16 if deep else np.uint8) for n in range(5)]
    times = [40 * n for n in range(5)]
    tags = None if pix_fmt in ("bgr0", "gray", "gbrp10le") else (1, 1, 1, 1)
    source = write_video(
        tmp_path / "in.mkv",
        times,
        time_base=Fraction(1, 1000),
        codec="ffv1",
        pix_fmt=pix_fmt,
        images=images,
        tags=tags,
    )
    copy(source, tmp_path / "out.mkv", Encoding("ffv1", pix_fmt=None if pix_fmt == "gray" else pix_fmt))
    unit = 2 ** (16 - int(pix_fmt[-4:-2])) if deep else 1
    for before, after in zip(read(source), read(tmp_path / "out.mkv"), strict=True):
        assert np.abs(after.image.astype(int) - before.image).max() <= worst * unit


def smooth(index, dtype):
    """An image without edges, since subsampled chroma blurs those whatever we do."""
    y, x = np.mgrid[0:48, 0:64]
    waves = [np.sin((x + 3 * index) / 17 + k) * np.cos(y / 13 - k) for k in range(3)]
    return np.rint((0.5 + 0.3 * np.stack(waves, -1)) * np.iinfo(dtype).max).astype(dtype)


def test_ten_bits_stay_more_than_eight(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64, 1).repeat(3, 2).astype(np.uint16)
    source = write_video(
        tmp_path / "in.mkv",
        [0, 40],
        time_base=Fraction(1, 1000),
        codec="ffv1",
        pix_fmt="yuv444p10le",
        images=[ramp] * 2,
    )
    copy(source, tmp_path / "out.mkv", Encoding("ffv1"))
    before, after = read(source)[0].image, read(tmp_path / "out.mkv")[0].image
    assert probe(source).bit_depth == 10 and before.dtype == np.uint16 and len(np.unique(before)) > 500
    assert np.abs(after.astype(int) - before).max() <= 65  # one code value of 10 bit
    copy(source, tmp_path / "default.mp4")
    assert probe(tmp_path / "default.mp4").pix_fmt == "yuv420p10le"


def test_odd_sizes_come_out_exactly(tmp_path):
    source = write_video(tmp_path / "in.mkv", [0, 40], time_base=Fraction(1, 1000), codec="ffv1", size=(33, 51))
    result = copy(source, tmp_path / "out.mp4")
    again = probe(tmp_path / "out.mp4")
    assert (again.width, again.height) == (51, 33) and any("odd" in note for note in result.notes)


@pytest.mark.parametrize("tags", [(1, 1, 1, 1), (6, 2, 6, 6), (9, 1, 9, 14)])
def test_colour_tags_and_pixel_aspect_are_kept(tmp_path, tags):
    source = write_video(tmp_path / "in.mp4", [0, 512], tags=tags, aspect=Fraction(16, 11))
    copy(source, tmp_path / "out.mp4", scale=2)
    before, after = probe(source), probe(tmp_path / "out.mp4")
    assert after.color == before.color and after.sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize(
    ("start", "end", "frames"), [(None, None, 50), (None, 1, 25), (1, None, 25), (1, 9, 25), (0, 0.1, 2)]
)
def test_what_is_expected_of_a_part_is_the_part(tmp_path, start, end, frames):
    source = write_video(tmp_path / "in.mp4", [512 * n for n in range(50)])
    part = VideoOptions(
        start_s=None if start is None else Fraction(start), end_s=None if end is None else Fraction(end)
    )
    assert abs(open_source(source, part)[0].info.frame_count_estimate - frames) <= 1


@pytest.mark.parametrize("name", ["in.ts", "in.mkv", "in.mp4"])
def test_start_and_end_count_from_the_first_frame(tmp_path, name):
    """A recording of a broadcast starts anywhere on its clock: a user who watches it sees it start at zero."""
    begins, base = 100, Fraction(1, 90000)
    pts = [begins * 90000 + 3600 * n for n in range(50)]
    source = write_video(tmp_path / name, pts, time_base=base, last_duration=3600, sound_from=Fraction(begins))
    assert abs(probe(source).begins_s - begins) < 2  # FFmpeg's MPEG-TS adds its own 1.4 s
    whole = read(source)
    options = VideoOptions(start_s=Fraction(1, 2), end_s=Fraction(3, 2))
    part = list(open_source(source, options)[0].frames())
    assert [frame.pts for frame in part] == [frame.pts for frame in whole[13:38]]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, whole[13:38], strict=True))
    result = copy(source, tmp_path / "out.mkv", start_s=options.start_s, end_s=options.end_s)
    assert result.frames == 25 and result.verification.ok
    with av.open(str(tmp_path / "out.mkv")) as container:
        times = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    assert -0.03 < times[0] < 0.05 and 0.4 < times[-1] < 0.51  # of one second of sound the second half


def test_listed_cuts_and_shots_count_from_the_first_frame(tmp_path):
    source = write_video(tmp_path / "in.mkv", [100_000 + 40 * n for n in range(20)], time_base=Fraction(1, 1000),
                         last_duration=40)  # fmt: skip
    marked = mark_listed_cuts(read(source), [Fraction(2, 5)], probe(source))
    assert [number for number, frame in enumerate(marked) if frame.cut] == [0, 10]
