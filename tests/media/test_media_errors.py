"""Bad videos and bad targets: one clear error, nothing left behind."""

from fractions import Fraction

import av
import numpy as np
import pytest

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.target import check_target
from tests.support.media_files import copy, read, write_video


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "video.mp4", [512 * n for n in range(10)], sound_from=Fraction(0))


def test_missing_empty_folder_and_text(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video " * 1000)
    for name, words in (
        ("missing.mp4", "no such file"),
        ("empty.mp4", "0 bytes"),
        (".", "folder"),
        ("text.mp4", "not a video"),
    ):
        with pytest.raises(MediaError, match=words):
            probe(tmp_path / name)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        tone.sample_rate = 48000
        container.mux(stream.encode(tone))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        probe(tmp_path / "sound.mp4")


def test_a_video_cut_before_its_index(video, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:2000])
    with pytest.raises(MediaError, match=r"cut\.mp4"):
        probe(tmp_path / "cut.mp4")


def test_a_damaged_frame_is_replaced_by_the_last_good_one(tmp_path):
    times = [40 * n for n in range(10)]
    source = write_video(tmp_path / "video.mov", times, time_base=Fraction(1, 1000), codec="png", pix_fmt="rgb24")
    whole = read(source)
    data = source.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    assert len(places) == 10
    source.write_bytes(data[: places[6]] + b"broken" + data[places[6] + 6 :])
    damaged = read(source)
    assert [frame.pts for frame in damaged] == times
    assert np.array_equal(damaged[6].image, whole[5].image) and np.array_equal(damaged[7].image, whole[7].image)
    result = copy(source, tmp_path / "out.mkv", Encoding("ffv1"))
    assert result.faults.repeated == [240] and "1 damaged frame" in str(result.faults) and result.verification.ok


def test_a_video_that_is_cut_off_is_taken_as_far_as_it_goes(tmp_path):
    source = write_video(tmp_path / "video.mkv", [40 * n for n in range(100)], time_base=Fraction(1, 1000))
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    result = copy(source, tmp_path / "out.mkv")
    assert 20 < result.frames < 100 and not result.complete and "stops" in result.faults.cut_short


def test_targets_that_are_refused(video, tmp_path):
    (tmp_path / "there.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(video)
    for target, words in (
        (video, "source itself"),
        (tmp_path / "link.mp4", "source itself|link"),
        (tmp_path / "there.mp4", "--overwrite"),
        (tmp_path / "nowhere" / "out.mp4", "no such folder"),
        (tmp_path / "out.xyz", "cannot write .xyz"),
        (tmp_path / "out", "no file extension"),
    ):
        with pytest.raises(OutputError, match=words):
            check_target(video, target, overwrite=False)
    check_target(video, tmp_path / "there.mp4", overwrite=True)
    with pytest.raises(OutputError, match="source itself"):
        check_target(video, video, overwrite=True)


@pytest.mark.parametrize(
    ("target", "encoding"),
    [
        ("out.mp4", Encoding("no-such-codec")),
        ("out.webm", Encoding("libx264")),
        ("out.mp4", Encoding(pix_fmt="no-such-format")),
        ("out.mp4", Encoding(options={"x264-params": "nonsense=1"}, preset="no-such-preset")),
    ],
)
def test_what_cannot_be_encoded_fails_at_once_and_leaves_nothing(tmp_path, target, encoding):
    source = write_video(tmp_path / "in.mp4", [0, 512])
    with pytest.raises(OutputError, match=r"cannot be written|no video encoder"):
        copy(source, tmp_path / target, encoding)
    assert list(tmp_path.iterdir()) == [source]


def test_an_error_leaves_the_old_target(video, tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="no video encoder"):
        copy(video, target, Encoding("no-such-codec"), overwrite=True)
    assert target.read_bytes() == b"old" and set(tmp_path.iterdir()) <= {video, target}


def test_a_source_of_all_frames_but_none_decodable(video, tmp_path):
    data = video.read_bytes()
    start = data.index(b"mdat") + 4
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[:start] + bytes(len(data[start:-3000])) + data[-3000:])
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        read(broken)


def test_a_decoder_that_hangs_is_given_up(video, tmp_path, monkeypatch):
    import time

    from osediff_video import chain as restore

    def stuck(*_):
        time.sleep(30)
        yield from ()

    monkeypatch.setattr(restore, "DECODER_PATIENCE_S", 0.5)
    monkeypatch.setattr("osediff_video.media.reading.reader.readable_packets", stuck)
    started = time.monotonic()
    with pytest.raises(MediaError, match="produced nothing"):
        copy(video, tmp_path / "out.mp4")
    assert time.monotonic() - started < 15 and not (tmp_path / "out.mp4").exists()
