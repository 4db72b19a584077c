"""Bad films and bad targets: one clear error, nothing left behind."""

from fractions import Fraction

import av
import numpy as np
import pytest

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.probe import probe
from osediff_video.media.reader import read_frames
from osediff_video.media.target import check_target
from osediff_video.media.writer import VideoWriter
from osediff_video.types import Frame
from tests.media_files import info, picture, write_film


@pytest.fixture
def film(tmp_path):
    return write_film(tmp_path / "film.mp4", [512 * n for n in range(10)], sound_from=Fraction(0))


def test_missing_empty_folder_and_text(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no film " * 1000)
    for name, words in (
        ("missing.mp4", "no such file"),
        ("empty.mp4", "0 bytes"),
        (".", "folder"),
        ("text.mp4", "not a film"),
    ):
        with pytest.raises(MediaError, match=words):
            probe(tmp_path / name)


def test_sound_alone_is_no_film(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), "fltp", "mono")
        tone.sample_rate = 48000
        container.mux(stream.encode(tone))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        probe(tmp_path / "sound.mp4")


def test_a_film_cut_before_its_index(film, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:2000])
    with pytest.raises(MediaError, match=r"cut\.mp4"):
        probe(tmp_path / "cut.mp4")


def test_damage_names_the_frame(tmp_path):
    source = write_film(
        tmp_path / "film.mov",
        [40 * n for n in range(10)],
        time_base=Fraction(1, 1000),
        codec="png",
        pix_fmt="rgb24",
    )
    facts = probe(source)
    data = source.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(b"\x89PNG", at)]
    assert len(places) == 10
    source.write_bytes(data[: places[6]] + b"broken" + data[places[6] + 6 :])
    with pytest.raises(MediaError, match=r"frame 6 cannot be decoded"):
        list(read_frames(facts))


def test_targets_that_are_refused(film, tmp_path):
    (tmp_path / "there.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(film)
    for target, words in (
        (film, "source itself"),
        (tmp_path / "link.mp4", "source itself"),
        (tmp_path / "there.mp4", "--overwrite"),
        (tmp_path / "nowhere" / "out.mp4", "no such folder"),
        (tmp_path / "out.xyz", "cannot write .xyz"),
        (tmp_path / "out", "what kind of file"),
    ):
        with pytest.raises(OutputError, match=words):
            check_target(film, target, overwrite=False)
    check_target(film, tmp_path / "there.mp4", overwrite=True)
    with pytest.raises(OutputError, match="source itself"):
        check_target(film, film, overwrite=True)


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
    with pytest.raises(OutputError, match=r"cannot be written"):
        VideoWriter(tmp_path / target, info(), 64, 48, encoding, None)
    assert not list(tmp_path.iterdir())


def test_sound_that_the_container_cannot_hold_is_named(film, tmp_path):
    with pytest.raises(MediaError, match=r"aac sound.*webm.*\.mkv"):
        VideoWriter(tmp_path / "out.webm", info(film), 64, 48, Encoding(), film)
    assert not (tmp_path / ".out.webm.part").exists()


def test_an_error_leaves_the_old_target_and_no_temporary_file(tmp_path):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoWriter(target, info(), 64, 48, Encoding(), None) as writer:
        writer.write(Frame(picture(0), 0, 512))
        raise RuntimeError
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_a_source_of_all_frames_but_none_decodable(film, tmp_path):
    data = film.read_bytes()
    start = data.index(b"mdat") + 4
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(data[:start] + bytes(len(data[start:-3000])) + data[-3000:])
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        list(read_frames(probe(broken)))
