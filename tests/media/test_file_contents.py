"""What belongs to a file besides its streams arrives, or is named: ends of chapters, tags, and what a GIF says."""

from fractions import Fraction

import av
import pytest
from PIL import Image

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.stream_plan import plan_streams
from tests.support.media_files import copy, sample_image

MILLISECOND = Fraction(1, 1000)
PHONE = {"com.android.version": "14", "com.android.capture.fps": "120.0", "location": "+48.2000+016.3700/"}


def write_file(path, tags=(), chapters=()):
    """Write a video of ten seconds, one frame each, with tags and with chapters of given start, end and title."""
    options = {"movflags": "+use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", container_options=options) as output:
        stream = output.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.metadata.update(tags)
        output.set_chapters(
            [
                {"id": n, "start": start, "end": end, "time_base": MILLISECOND, "metadata": {"title": title}}
                for n, (start, end, title) in enumerate(chapters, 1)
            ]
        )
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(sample_image(number), "rgb24")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def chapters_of(path):
    with av.open(str(path)) as container:
        rows = [(c["start"], c["end"], c["time_base"], c["metadata"].get("title")) for c in container.chapters()]
    return [(start * base, end * base, title) for start, end, base, title in rows]


def tags_of(path):
    with av.open(str(path)) as container:
        return dict(container.metadata)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_chapters_with_gaps_keep_their_ends(tmp_path, suffix):
    chapters = [(500, 1000, "one"), (3000, 5000, "two"), (5000, 9000, "three")]
    source = write_file(tmp_path / "in.mkv", chapters=chapters)
    there, back = tmp_path / f"there{suffix}", tmp_path / "back.mkv"
    copy(source, there)
    expected = [(start * MILLISECOND, end * MILLISECOND, title) for start, end, title in chapters]
    assert [chapter for chapter in chapters_of(there) if chapter[2]] == expected
    copy(there, back)
    assert chapters_of(back) == expected


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tags_of_any_name_stay(tmp_path, suffix):
    source = write_file(tmp_path / "in.mp4", PHONE)
    copy(source, tmp_path / f"out{suffix}", strict=True)
    tags = {key.lower(): value for key, value in tags_of(tmp_path / f"out{suffix}").items()}
    assert {key: tags.get(key) for key in ("com.android.version", "com.android.capture.fps")} == {
        "com.android.version": "14",
        "com.android.capture.fps": "120.0",
    }
    assert "location" in tags


def test_titles_stay_where_players_look_and_other_tags_are_named(tmp_path):
    source = write_file(tmp_path / "in.mkv", {"title": "A title", "rating": "5", "sort_album": "Album, The"})
    plans = [str(plan) for plan in plan_streams(source, "mp4") if plan.lossy]
    assert len(plans) == 1 and "RATING, SORT_ALBUM" in plans[0]
    with pytest.raises(OutputError, match="RATING"):
        copy(source, tmp_path / "out.mp4", strict=True)
    copy(source, tmp_path / "out.mp4")
    assert b"\xa9nam" in (tmp_path / "out.mp4").read_bytes() and tags_of(tmp_path / "out.mp4")["title"] == "A title"
    copy(source, tmp_path / "out.mkv", strict=True)


def test_a_transport_stream_holds_no_tags_and_it_is_named(tmp_path):
    source = write_file(tmp_path / "in.mkv", {"title": "A title"})
    assert ["title" in str(plan) for plan in plan_streams(source, "mpegts") if plan.lossy] == [True]


@pytest.mark.parametrize("loop", [None, 0, 10])
def test_a_gif_keeps_its_repetitions_comment_and_last_delay(tmp_path, loop):
    frames = [Image.fromarray(sample_image(n)) for n in range(4)]
    words = b"A comment that is longer than one block of 255 bytes. " * 8
    extra = {} if loop is None else {"loop": loop}
    durations = [100, 50, 200, 700]
    frames[0].save(
        tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=durations, comment=words, **extra
    )
    copy(tmp_path / "in.gif", tmp_path / "out.gif", Encoding(), strict=True)
    with Image.open(tmp_path / "out.gif") as out:
        assert out.info.get("loop") == loop and out.n_frames == 4
        delays, comments = [], []
        for number in range(4):
            out.seek(number)
            delays.append(out.info["duration"])
            comments.append(out.info.get("comment"))
    assert delays == durations
    assert b"\x21\xfe" in (tmp_path / "out.gif").read_bytes()
    with av.open(str(tmp_path / "out.gif")) as container:
        list(container.demux(video=0))
        assert container.metadata["comment"].encode() == words
