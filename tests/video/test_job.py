"""Interrupted at any moment, the same command gives the same result."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from image_core.errors import MediaError, OutputError
from osediff_video.encoding import Encoding
from osediff_video.job.folder import Job, job_folder
from osediff_video.job.manifest import Manifest
from osediff_video.media.probe import probe
from tests.support.media_files import FAST, copy, packets, read, read_times, write_video
from tests.support.rich_video import write_rich

SLOW = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
NURSERY = """
import os, signal, sys, time, traceback
from pathlib import Path
from osediff_video.plain_resize import PlainResize
from osediff_video.encoding import Encoding
from osediff_video.run import upscale_video

class Slow(PlainResize):
    def drafts(self, images, *rest):
        time.sleep(0.004)
        return super().drafts(images, *rest)

for line in sys.stdin:
    source, target, kill_after_s = line.rstrip().split("|")
    child = os.fork()
    if not child:
        code = 1
        try:
            upscale_video(Path(source), Path(target), Slow(2.0), Encoding(preset="ultrafast", options={"bf": "2"}))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after_s:
        time.sleep(float(kill_after_s))
        os.kill(child, signal.SIGKILL)  # nobody else waits for it: the number is still its own
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
UNEVEN = [0]
for step in np.random.default_rng(0).integers(1, 900, 239):
    UNEVEN.append(UNEVEN[-1] + int(step))


def content(path):
    """Hash of every decoded frame with its time, and of every copied packet."""
    digest = hashlib.sha256()
    for frame in read(path):
        digest.update(str(frame.pts).encode() + frame.image.tobytes())
    for _, data in packets(path, "audio"):
        digest.update(data)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(
        tmp_path_factory.mktemp("job") / "video.mp4", UNEVEN, sound_from=Fraction(0), options={"bf": "3"}
    )


class Nursery:
    """A process that has imported everything and gives birth to one that copies slowly, which may be killed."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def copy(self, source, target, kill_after_s=None):
        """Returns the exit code: 0 when it was done before the kill."""
        print(f"{source}|{target}|{kill_after_s or ''}", file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def nursery():
    nursery = Nursery()
    yield nursery
    nursery.process.communicate(timeout=30)


@pytest.mark.parametrize(
    ("suffix", "times"), [(".mp4", 4), *(pytest.param(suffix, 10, marks=SLOW) for suffix in (".mp4", ".mkv"))]
)
def test_killed_many_times_the_result_is_the_same(video, tmp_path, suffix, times, nursery):
    uninterrupted, killed = tmp_path / f"whole{suffix}", tmp_path / f"killed{suffix}"
    assert nursery.copy(video, uninterrupted) == 0
    draw, kills = random.Random(suffix), 0
    while kills < times:
        kills += nursery.copy(video, killed, draw.uniform(0, 0.9)) == -signal.SIGKILL
        if killed.exists():  # only ever whole
            assert content(killed) == content(uninterrupted)
            killed.unlink()
    assert nursery.copy(video, killed) == 0
    assert content(killed) == content(uninterrupted)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"killed{suffix}", f"whole{suffix}"]


class StopAt(BaseException):
    pass


def stopped_copy(source, target, frames, encoding=FAST, **options):
    """Copy and stop after so many frames, as Ctrl-C would."""
    from osediff_video.options import VideoOptions
    from osediff_video.plain_resize import PlainResize
    from osediff_video.run import upscale_video

    def progress(state):
        if state.frames >= frames:
            raise StopAt

    with pytest.raises(StopAt):
        upscale_video(
            source, target, PlainResize(), encoding, VideoOptions(**{"temporal": "off", **options}), progress=progress
        )


def test_what_is_finished_is_not_done_again(video, tmp_path):
    target = tmp_path / "out.mp4"
    stopped_copy(video, target, 150)
    done = sorted(path.name for path in job_folder(target).glob("*.mkv"))
    assert done and not target.exists()
    result = copy(video, target)
    assert result.resumed > 50 and result.frames == 240 and result.verification.ok and not job_folder(target).exists()


def test_changed_settings_and_changed_input_are_noticed(video, tmp_path):
    source, target = tmp_path / "video.mp4", tmp_path / "out.mp4"
    source.write_bytes(video.read_bytes())
    stopped_copy(source, target, 150)
    with pytest.raises(OutputError, match=r"options|crf"):
        copy(source, target, Encoding(preset="veryfast", crf=30))
    with pytest.raises(OutputError, match="scale"):
        copy(source, target, scale=2)
    os.utime(source, (1, 1))
    stopped_copy(source, target, 160)  # the same content under another date is the same video
    middle = bytearray(source.read_bytes())
    middle[len(middle) // 2] ^= 1
    source.write_bytes(middle)
    os.utime(source, (1, 1))
    with pytest.raises(OutputError, match=r"the input file changed.*--restart"):
        copy(source, target)
    assert copy(source, target, restart=True).resumed == 0


def test_a_second_run_on_the_same_result_is_refused(video, tmp_path):
    with Job(tmp_path / "out.mp4", [video], Manifest({}, {})), pytest.raises(OutputError, match="another run"):
        copy(video, tmp_path / "out.mp4")


def test_a_broken_manifest_or_a_lost_segment_is_no_catastrophe(video, tmp_path):
    target = tmp_path / "out.mp4"
    stopped_copy(video, target, 230)
    folder = job_folder(target)
    (folder / "00001.mkv").unlink()
    assert copy(video, target).resumed < 150
    target.unlink()
    stopped_copy(video, target, 150)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(OutputError, match="--restart"):
        copy(video, target)
    assert copy(video, target, restart=True).verification.ok


def test_segments_with_b_frames_and_uneven_times_join_exactly(video, tmp_path):
    for codec in ("libx264", "libx265"):
        target = tmp_path / f"{codec}.mp4"
        check = copy(video, target, Encoding(codec, preset="ultrafast", options={"bf": "3"})).verification
        assert check.ok and check.largest_error_s == 0
        with av.open(str(target)) as container:
            decoding = [p.dts for p in container.demux(video=0) if p.size]
        assert decoding == sorted(set(decoding))


def test_a_full_disk_is_said_and_the_work_is_kept(video, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", small]).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        with pytest.raises(OutputError, match=r"No space|room"):
            copy(video, small / "out.mkv", Encoding("ffv1"))
        assert not (small / "out.mkv").exists()
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_said_and_the_work_is_kept(video, tmp_path):
    """A file-size limit stands for the full disk: the same failed write, in any environment."""
    target = tmp_path / "out.mkv"
    code = """
import resource, sys
from pathlib import Path
from image_core.errors import OutputError
from osediff_video.encoding import Encoding
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    upscale_video(Path(sys.argv[1]), Path(sys.argv[2]), PlainResize(), Encoding("ffv1"))
except OutputError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(video), str(target)]
    output = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "failed" in output and "again" in output and not target.exists()
    assert copy(video, target, Encoding("ffv1"), temporal="pixel").verification.ok


def test_an_input_that_vanishes_is_said(video, tmp_path):
    source, target = tmp_path / "video.mp4", tmp_path / "out.mp4"
    source.write_bytes(video.read_bytes())
    stopped_copy(source, target, 150)
    source.unlink()
    with pytest.raises(MediaError, match="no such file"):
        copy(source, target)
    assert list(job_folder(target).glob("*.mkv"))


def test_the_manifest_says_what_it_is_of(video, tmp_path):
    stopped_copy(video, tmp_path / "out.mp4", 150)
    values = json.loads((job_folder(tmp_path / "out.mp4") / "manifest.json").read_text())
    assert values["source"]["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert values["settings"]["scale"] == 1 and values["settings"]["model"] == "plain resize"


def test_a_stopped_rich_video_still_gets_everything(tmp_path):
    source, target = write_rich(tmp_path / "rich.mkv", frames=150), tmp_path / "out.mkv"
    stopped_copy(source, target, 120)
    result = copy(source, target)
    assert result.resumed and len(probe(target).path.name) and result.verification.ok
    with av.open(str(target)) as container:
        assert len(container.streams) == 7 and len(container.chapters()) == 3
    assert len(read_times(target)) == 150
