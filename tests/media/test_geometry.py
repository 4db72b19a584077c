"""Size, orientation, interlacing, transparency, HDR, and files that are not videos."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.images.image_file import ImageFile, write_image
from osediff_video.media.deinterlace import look_for_fields, pulled
from osediff_video.media.probe import orientation_of, probe
from osediff_video.media.reading.reader import VideoSource
from osediff_video.options import VideoOptions, parse_size, parse_time
from tests.support.media_files import copy, read, read_times, sample_image, write_video

TIMES = [512 * n for n in range(12)]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_images_come_out_as_players_show_them(tmp_path, degrees, mirrored):
    flat, tagged = write_video(tmp_path / "flat.mp4", [0, 512]), tmp_path / "tagged.mp4"
    with av.open(str(flat)) as source, av.open(str(tagged), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.set_display_rotation(degrees, hflip=mirrored)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    info, coded = probe(tagged), read(flat)[0].image
    upright = np.rot90(coded, degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright  # the matrix turns first, then mirrors
    assert (info.height, info.width) == upright.shape[:2]
    assert np.array_equal(read(tagged)[0].image, upright)
    copy(tagged, tmp_path / "out.mp4")
    again = probe(tmp_path / "out.mp4")
    assert (again.width, again.height) == (info.width, info.height) and not again.orientation.transpose
    copy(tagged, tmp_path / "kept.mp4", keep_rotation=True)
    remaining = probe(tmp_path / "kept.mp4")
    assert (remaining.width, remaining.height, remaining.orientation) == (info.width, info.height, info.orientation)


def test_every_display_matrix_is_one_of_eight_orientations():
    one, seen = 1 << 16, set()
    image = np.arange(6).reshape(2, 3)
    for a, b, c, d in [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)]:
        seen.add(orientation_of((a * one, b, 0, c, d * one, 0))(image).tobytes())
        seen.add(orientation_of((b, a * one, 0, d * one, c, 0))(image).tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("words", "size"),
    [
        ("1080p", (1080, 1920)),
        ("4k", (2160, 3840)),
        ("720", (720, 1280)),
        ("640x480", (480, 640)),
        ("480p", (480, 854)),
    ],
)
def test_sizes(words, size):
    assert parse_size(words, 360, 640) == size
    if "x" not in words:
        assert parse_size(words, 640, 360) == size[::-1]


@pytest.mark.parametrize("words", ["big", "0", "12x", "", "-5"])
def test_words_that_are_no_size(words):
    with pytest.raises(ValueError, match="size must be"):
        parse_size(words, 10, 10)


@pytest.mark.parametrize(("words", "seconds"), [("90", 90), ("1:30", 90), ("0:01:30.5", 90.5), ("1:00:00", 3600)])
def test_times(words, seconds):
    assert parse_time(words) == Fraction(seconds)


def test_wrong_video_options_are_refused():
    for wrong in ({"end_s": Fraction(0)}, {"start_s": Fraction(-1)}, {"size": "big"}, {"deinterlace": "x"}):
        with pytest.raises(ValueError, match=r"end|start|size|deinterlace"):
            VideoOptions(**wrong)


def test_a_size_outside_the_models_range_is_refused(tmp_path):
    source = write_video(tmp_path / "in.mp4", TIMES)
    for size in ("16x12", "4k"):
        with pytest.raises(OutputError, match="1 to 8 times"):
            copy(source, tmp_path / "out.mp4", size=size)
    copy(source, tmp_path / "out.mp4", size="96x96")  # another shape: pixels become wide instead of faces
    info = probe(tmp_path / "out.mp4")
    assert (info.width, info.height, info.sample_aspect_ratio) == (96, 96, Fraction(4, 3))


@pytest.mark.parametrize("scale", [1, 1.5, 3, 8])
def test_any_factor_from_one_to_eight(tmp_path, scale):
    source = write_video(tmp_path / "in.mkv", [0, 40], time_base=Fraction(1, 1000), codec="ffv1", size=(24, 36))
    copy(source, tmp_path / "out.mkv", Encoding("ffv1"), scale=scale)
    info = probe(tmp_path / "out.mkv")
    assert (info.width, info.height) == (36 * scale, 24 * scale)


def interlaced(path):
    """A bar that moves between the two fields of every frame."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg2video", rate=25, options={"flags": "+ilme+ildct", "qscale": "2"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for n in range(40):
            woven = np.empty((96, 128, 3), np.uint8)
            woven[0::2] = sample_image(4 * n, 96, 128)[0::2]
            woven[1::2] = sample_image(4 * n + 2, 96, 128)[1::2]
            graph = av.filter.Graph()
            source = graph.add_buffer(width=128, height=96, format=av.VideoFormat("rgb24"), time_base=Fraction(1, 25))
            chain = [source, graph.add("format", "yuv420p"), graph.add("setfield", "tff"), graph.add("buffersink")]
            graph.link_nodes(*chain).configure()
            frame = av.VideoFrame.from_ndarray(woven, "rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            graph.vpush(frame)
            ready = graph.vpull()
            ready.pict_type = 0
            output.mux(stream.encode(ready))
        output.mux(stream.encode(None))
    return path


def combing(image):
    """How much rows differ from the mean of their neighbours against rows two apart."""
    luma = image.astype(float).mean(-1)
    return np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean()


def test_interlaced_videos_are_noticed_and_woven(tmp_path):
    source = interlaced(tmp_path / "in.mkv")
    assert probe(source).interlaced and look_for_fields(source)[0]
    raw, result = read(source), copy(source, tmp_path / "out.mkv", Encoding("ffv1"))
    woven = read(tmp_path / "out.mkv")
    assert [frame.pts for frame in woven] == [frame.pts for frame in raw] and result.verification.ok
    assert combing(woven[20].image) < combing(raw[20].image) / 3
    assert any("deinterlaced" in note for note in result.notes)
    copy(source, tmp_path / "off.mkv", Encoding("ffv1"), deinterlace="off")
    assert combing(read(tmp_path / "off.mkv")[20].image) > combing(raw[20].image) / 2


def test_progressive_videos_are_left_alone(tmp_path):
    source = write_video(tmp_path / "in.mp4", TIMES)
    assert look_for_fields(source) == (False, None)


@pytest.mark.parametrize(("suffix", "pix_fmt"), [(".mov", "yuva444p10le"), (".mkv", "bgra"), (".webm", "yuv420p")])
def test_transparency_is_kept_where_the_container_can(tmp_path, suffix, pix_fmt):
    frames = tmp_path / "frames"
    frames.mkdir()
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    for n in range(3):
        Image.fromarray(np.dstack([sample_image(n), alpha])).save(frames / f"{n}.png")
    result = copy(frames, tmp_path / f"out{suffix}", Encoding(), scale=2)
    info = probe(tmp_path / f"out{suffix}")
    assert info.alpha and info.pix_fmt == pix_fmt and not any("transparency" in note for note in result.notes)
    actual = next(iter(VideoSource(info).frames())).alpha
    unit = 257 if actual.dtype == np.uint16 else 1
    assert np.abs(actual[48, 1::2].astype(float) / unit - alpha[0]).mean() < 3


def test_transparency_that_is_lost_is_said(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.fromarray(np.dstack([sample_image(0), sample_image(0)[..., 0]])).save(frames / "0.png")
    assert any("transparency is lost" in note for note in copy(frames, tmp_path / "out.mp4").notes)


def test_hdr10_metadata_passes(tmp_path):
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    words = f"log-level=none:hdr10=1:master-display={display}:max-cll=1000,400"
    source = write_video(
        tmp_path / "in.mp4",
        TIMES,
        codec="libx265",
        pix_fmt="yuv420p10le",
        tags=(9, 1, 9, 16),
        options={"x265-params": words},
        images=[sample_image(n, dtype=np.uint16) for n in range(12)],
    )
    info = probe(source)
    assert info.light.mastering == display and info.light.content == (1000, 400)
    for codec in (None, "av1"):
        result = copy(source, tmp_path / f"{codec}.mp4", Encoding(codec, preset=None if codec else "ultrafast"))
        again = probe(tmp_path / f"{codec}.mp4")
        assert again.color == info.color and again.bit_depth == 10
        assert again.light.content == (1000, 400) and again.light.mastering.startswith("G(132")
        assert any("PQ" in note for note in result.notes)
    assert any("mastering" in note for note in copy(source, tmp_path / "x264.mp4", Encoding("x264")).notes)


def test_gif_in_and_out(tmp_path):
    frames = [Image.fromarray(sample_image(n)) for n in range(5)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=[100, 50, 200, 100, 100])
    copy(tmp_path / "in.gif", tmp_path / "out.gif", Encoding(), scale=2)
    with Image.open(tmp_path / "out.gif") as out:
        assert out.size == (128, 96) and out.n_frames == 5
        durations = []
        for n in range(5):
            out.seek(n)
            durations.append(out.info["duration"])
    assert durations[:4] == [100, 50, 200, 100]


@pytest.mark.parametrize("suffix", [".webp", ".avif", ".png"])
def test_animated_images(tmp_path, suffix):
    source = tmp_path / f"in{suffix}"
    frames = [Image.fromarray(sample_image(n)) for n in range(4)]
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=[100, 50, 200, 80], lossless=True)
    result = copy(source, tmp_path / "out.mp4")
    assert result.frames == 4 and result.verification.ok
    assert [float(time) for time in read_times(tmp_path / "out.mp4")] == [0, 0.1, 0.15, 0.35]
    part = copy(source, tmp_path / "part.mp4", start_s=Fraction(1, 10), end_s=Fraction(3, 10))
    assert part.frames == 2
    assert [float(time) for time in read_times(tmp_path / "part.mp4")] == [0, 0.05]
    with pytest.raises(MediaError, match=r"no frame|from 1 s"):
        copy(source, tmp_path / "none.mp4", start_s=Fraction(1))


def test_a_part_of_a_folder_of_frames(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(10):
        Image.fromarray(sample_image(number)).save(frames / f"{number}.png")
    part = {"fps": Fraction(10), "start_s": Fraction(1, 4), "end_s": Fraction(7, 10)}
    assert copy(frames, tmp_path / "part.mkv", Encoding("ffv1"), **part).frames == 4  # at .3, .4, .5 and .6 s
    shown = [frame.image for frame in read(tmp_path / "part.mkv")]
    assert all(np.array_equal(image, sample_image(number)) for number, image in enumerate(shown, 3))
    with pytest.raises(MediaError, match="holds 10 frames, 1 s at 10 per second"):
        copy(frames, tmp_path / "none.mkv", fps=Fraction(10), start_s=Fraction(2))


def test_telecined_video_is_said_not_deinterlaced(tmp_path):
    graph = av.filter.Graph()
    source = graph.add("buffer", "video_size=128x96:pix_fmt=yuv420p:time_base=1/24:frame_rate=24")
    graph.link_nodes(source, graph.add("telecine", "pattern=23"), graph.add("buffersink")).configure()
    with av.open(str(tmp_path / "in.mkv"), "w") as output:
        stream = output.add_stream("mpeg2video", rate=Fraction(30000, 1001), options={"flags": "+ilme+ildct"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1001, 30000)
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        count = 0
        for n in range(80):
            frame = av.VideoFrame.from_ndarray(sample_image(n, 96, 128), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 24)
            graph.vpush(frame)
            for woven in pulled(graph):
                woven.pts, woven.time_base, woven.pict_type = count, Fraction(1001, 30000), 0
                output.mux(stream.encode(woven))
                count += 1
        output.mux(stream.encode(None))
    interlaced_found, note = look_for_fields(tmp_path / "in.mkv")
    assert not interlaced_found and "telecined" in note


def test_frames_out_of_deep_frames_are_sixteen_bit(tmp_path):
    import cv2

    source, images = tmp_path / "in", [sample_image(n, dtype=np.uint16) for n in range(3)]
    source.mkdir()
    for number, image in enumerate(images):
        write_image(source / f"{number}.png", ImageFile(image))
    copy(source, tmp_path / "frames")
    written = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in written] == [f"frame_{n:08d}.png" for n in (1, 2, 3)]
    for path, image in zip(written, images, strict=True):
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1], image)
