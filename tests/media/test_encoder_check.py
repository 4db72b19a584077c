"""Options and sizes that an encoder does not know are refused before work, in one line."""

import av.logging
import pytest

from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.media.writing.encoder import plan_encoder
from osediff_video.media.writing.encoder_check import try_encoder
from tests.support.media_files import copy, info, write_video

FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov", ".webm": "webm"}


def check(suffix, encoding, width=64, height=48, **facts):
    try_encoder(plan_encoder(info(**facts), width, height, encoding, suffix), FORMATS[suffix], encoding)


@pytest.mark.parametrize(
    ("suffix", "encoding", "words"),
    [
        (".mp4", Encoding(options={"tunee": "grain"}), "--encoder-option tunee=grain: libx264 has no option tunee"),
        (".mp4", Encoding(crf=99), "--crf 99: libx264 knows 0 to 51"),
        (".mp4", Encoding(crf=-1), "--crf -1: libx264 knows 0 to 51"),
        (".mp4", Encoding(codec="x265", crf=52), "--crf 52: libx265 knows 0 to 51"),
        (".mkv", Encoding(codec="av1", crf=64), "--crf 64: libsvtav1 knows 0 to 63"),
        (".mkv", Encoding(codec="av1", preset="99"), "libsvtav1: an option is out of its range"),
        (".mp4", Encoding(preset="bogus"), "preset bogus"),
        (".mov", Encoding(codec="prores", crf=4), "--crf 4: prores_ks has no option crf"),
        (".mov", Encoding(codec="prores", preset="slow"), "--preset slow: prores_ks has no option preset"),
        (".mkv", Encoding(codec="ffv1", crf=10), "--crf 10: ffv1 has no option crf"),
        (".webm", Encoding(preset="slow"), "--preset slow: libvpx-vp9 has no option preset"),
    ],
)
def test_options_that_mean_nothing_are_refused(suffix, encoding, words):
    with pytest.raises(OutputError) as caught:
        check(suffix, encoding)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_options_that_encoders_know_are_taken():
    check(".mp4", Encoding(crf=51, preset="veryfast", options={"tune": "grain", "g": "50", "bf": "2"}))
    check(".mp4", Encoding(crf=60), pix_fmt="yuv420p10le", bit_depth=10)
    check(".mp4", Encoding(codec="x265", crf=51, options={"x265-params": "aq-mode=2"}))
    check(".mov", Encoding(codec="prores", options={"profile": "3"}))
    check(".mkv", Encoding(codec="ffv1", options={"level": "3"}))
    check(".mkv", Encoding(codec="x264", options={"qp": "5"}))


@pytest.mark.parametrize(("codec", "suffix"), [("x264", ".mp4"), ("av1", ".mkv")])
def test_sizes_beyond_the_encoder_are_refused_with_its_limit(codec, suffix):
    with pytest.raises(OutputError, match=r"ends at 16384 pixels.*ffv1"):
        check(suffix, Encoding(codec=codec), width=16386)


def test_nothing_is_begun(tmp_path):
    source = write_video(tmp_path / "in.mp4", [0, 512])
    with pytest.raises(OutputError, match="tunee"):
        copy(source, tmp_path / "out.mp4", Encoding(options={"tunee": "grain"}))
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("codec", ["x264", "x265", "svtav1"])
def test_a_misspelled_setting_among_an_encoders_own_is_refused(codec):
    for _ in range(2):  # FFmpeg does not repeat its messages
        with pytest.raises(OutputError, match=r"passes over the setting foo.*leave it out"):
            check(".mkv", Encoding(codec=codec, options={f"{codec}-params": "aq-mode=1:foo=1"}))
    assert av.logging.get_level() is None


def test_a_failure_is_told_in_the_encoders_own_words():
    with pytest.raises(OutputError, match="Error setting preset/tune bogus"):
        check(".mp4", Encoding(preset="bogus"))
    with pytest.raises(OutputError, match="option b to value many"):
        check(".mp4", Encoding(options={"b": "many"}))


@pytest.mark.parametrize("suffix", ["", ".gif"])
def test_settings_without_effect_on_images_are_said(suffix):
    plan = plan_encoder(info(), 64, 48, Encoding(crf=10, preset="slow"), suffix)
    assert any("--crf, --preset: without effect" in note for note in plan.notes)
    assert not any("without effect" in note for note in plan_encoder(info(), 64, 48, Encoding(), suffix).notes)
