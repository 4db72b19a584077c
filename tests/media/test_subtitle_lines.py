"""Subtitle lines that show together stay readable in containers that show one text at a time."""

import itertools
import random
from fractions import Fraction

import av
import pytest

from osediff_video.media.carriers import ASS_HEADER
from osediff_video.media.subtitle_lines import Line, LineSplitter, joined
from tests.support.media_files import copy, sample_image

MILLISECOND = Fraction(1, 1000)
OVERLAPPING = [(100, 900, "first"), (500, 1000, "overlaps"), (500, 100, "same time"), (1700, 0, "no end")]


def write_lines(path, lines):
    """Write two seconds of images with subtitles in ASS. lines: start, length and text."""
    with av.open(str(path), "w") as output:
        video, text = output.add_stream("libx264", rate=25), output.add_stream("ass")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        text.codec_context.subtitle_header = ASS_HEADER
        text.codec_context.time_base = text.time_base = MILLISECOND
        output.start_encoding()
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(sample_image(number), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for order, (start, length, words) in enumerate(lines):
            event = f"{order},0,Default,,0,0,0,,{words}".encode()
            subtitle = av.subtitles.subtitle.SubtitleSet.create(event, 0, length, pts=start * 1000)
            packet = text.codec_context.encode_subtitle(subtitle)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = length, MILLISECOND, text
            output.mux_one(packet)
    return path


def shown(path):
    """Return (start, length, text) of every subtitle that is not empty."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(container.streams.subtitles[0]) if p.size > 2]
        lines = [(p.pts, p.duration, bytes(p)) for p in packets]
    return [(start, length, data[2 : 2 + int.from_bytes(data[:2])].decode()) for start, length, data in lines]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_overlapping_lines_are_shown_together(tmp_path, suffix):
    source = write_lines(tmp_path / "in.mkv", OVERLAPPING)
    copy(source, tmp_path / f"out{suffix}")
    lines = shown(tmp_path / f"out{suffix}")
    assert lines[:4] == [
        (100, 400, "first"),
        (500, 100, "first\noverlaps\nsame time"),
        (600, 400, "first\noverlaps"),
        (1000, 500, "overlaps"),
    ]
    assert lines[4][0] == 1700 and lines[4][2] == "no end"


def test_at_every_moment_the_spans_show_what_the_lines_show():
    chance = random.Random(7)
    for _ in range(60):
        starts = sorted(chance.randrange(0, 400) for _ in range(8))
        lines = [
            Line(start, start + chance.randrange(1, 120), f"{n},0,,,0,0,0,,{n}".encode())
            for n, start in enumerate(starts)
        ]
        splitter, spans = LineSplitter(), []
        for line in lines:
            spans += splitter.add(line)
            spans += splitter.until(line.start - chance.randrange(0, 100))
        spans += splitter.rest()
        assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
        for moment in range(560):
            expected = [line.event for line in lines if line.start <= moment < line.end]
            result = [span.event for span in spans if span.start <= moment < span.end]
            assert result == ([joined(expected)] if expected else [])


def test_styles_of_one_line_do_not_reach_the_next():
    assert (
        joined([b"0,0,,,0,0,0,,{\\i1}one", b"1,0,,,0,0,0,,two, three"]) == b"0,0,,,0,0,0,,{\\i1}one{\\r}\\Ntwo, three"
    )


def test_a_line_without_an_end_gives_way_to_the_next():
    splitter = LineSplitter()
    spans = [*splitter.add(Line(0, 0, b"a")), *splitter.add(Line(900, 1200, b"b")), *splitter.rest()]
    assert [(span.start, span.end) for span in spans] == [(0, 900), (900, 1200)]
