"""What workers make, whatever befalls them, is what one run makes. The workers are real, their machines are not."""

import sys
import time
from types import SimpleNamespace

import pytest

from image_core.errors import MediaError, ModelNotFoundError, OseDiffError, OutputError
from image_core.options import UpscaleOptions
from osediff_video.farm import worker
from osediff_video.farm.board import BAD_NODE, MOST_LOSSES, MOST_ON_A_NODE, Board, Piece
from osediff_video.farm.driver import Tell, open_crew, upscale_batch
from osediff_video.farm.options import FarmOptions, check_address
from osediff_video.farm.worker import ModelChoice, Worker, remove_abandoned
from osediff_video.job.folder import job_folder
from osediff_video.media.reading.stdin import PIPE
from osediff_video.options import VideoOptions
from osediff_video.plain_resize import PlainResize
from osediff_video.run import upscale_video
from tests.farm.test_stretches import EXACT, FRAMES, SEGMENT, everything, images, video  # noqa: F401

CHOICE = ModelChoice("tiny", UpscaleOptions(scale=2), "cpu", "fp32")
TWO = FarmOptions(workers=2)
QUICK = VideoOptions(temporal="off")
"""The blend over segments is tested with stretches; here it is who makes them."""


class FakeCrew:
    """Two workers on two nodes in this process, in place of Ray's, and what befalls them.

    befall: called with the worker, the piece and the number of news so far before each step; may raise or return
    "lost", or "late" for a step that is not there yet.
    """

    most, nodes = 2, 2

    def __init__(self, place, befall=lambda *_: None, facts=None):
        self.place, self.befall, self.facts = place, befall, facts or {}
        self.members, self.started, self.largest = [], 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.actor.close()

    def grow(self, closed=()):
        nodes = [node for node in (f"node {number}" for number in range(self.nodes)) if node not in closed]
        while nodes and len(self.members) < self.most:
            self.started += 1
            name = f"worker {self.started}"
            node = min(nodes, key=[member.node for member in self.members].count)
            actor = Worker(CHOICE, str(self.place))
            self.members.append(SimpleNamespace(name=name, actor=actor, node=node, state="new", work=None))

    def events(self, _):
        if all(member.state == "idle" for member in self.members):
            time.sleep(0.005)  # the real one waits for news too, and does not keep a film's end from the processor
        for member in list(self.members):
            if member not in self.members:
                continue
            if member.state == "new":
                member.state = "idle"
                try:
                    facts = {**member.actor.load(None), **self.facts.get(member.node, {})}
                except OseDiffError as error:
                    yield SimpleNamespace(member=member, kind="unfit", value=error)
                    continue
                yield SimpleNamespace(member=member, kind="ready", value=facts)
            elif member.state == "busy" and (event := self.step(member)) is not None:
                yield event

    def step(self, member):
        method, arguments, member.count = member.method, member.arguments, member.count + 1
        try:
            fate = self.befall(member, method, arguments, member.count)
            if fate == "lost":
                self.dismiss(member)
                return SimpleNamespace(member=member, kind="lost", value="the machine is gone")
            if fate == "late":
                return None
            if method == "make":
                member.work = member.work or member.actor.make(*arguments)
                item = next(member.work)
                self.largest = max(self.largest, len(item) if isinstance(item, bytes) else 0)
                return SimpleNamespace(member=member, kind="news", value=item)
            value = getattr(member.actor, method)(*arguments)
        except StopIteration:
            value = None
        except Exception as error:
            member.state, member.work = "idle", None
            return SimpleNamespace(member=member, kind="failed", value=error)
        member.state, member.work = "idle", None
        return SimpleNamespace(member=member, kind="done", value=value)

    def call(self, member, method, *arguments):
        member.state, member.method, member.arguments, member.count = "busy", method, arguments, 0

    def make(self, member, *arguments):
        self.call(member, "make", *arguments)

    def shared(self, value):
        return value

    def supply(self, member, files):
        for digest in member.actor.lacks(list(files)):
            member.actor.take(digest, 0, files[digest].read_bytes(), True)

    def dismiss(self, member):
        self.members.remove(member)
        member.actor.close()


@pytest.fixture
def run(video, tmp_path, monkeypatch):  # noqa: F811
    """Upscale by fake workers; returns the crew, the results, errors and notes."""
    monkeypatch.setattr("osediff_video.farm.worker.load_upscaler", lambda *_, **__: PlainResize(2.0))
    monkeypatch.setattr("osediff_video.farm.driver.GROW_S", 0.0)
    (tmp_path / "scratch").mkdir()

    def go(*names, settings=TWO, befall=lambda *_: None, facts=None, source=video, options=QUICK, **more):
        crew = FakeCrew(tmp_path / "scratch", befall, facts)
        monkeypatch.setattr("osediff_video.farm.driver.open_crew", lambda *_: crew)
        results, errors, notes, seen = [], [], [], []
        tell = Tell(
            done=lambda _, result: results.append(result),
            failed=lambda _, message: errors.append(message),
            note=notes.append,
            progress=seen.append,
        )
        pairs = [(source, PIPE if name == "-" else tmp_path / name) for name in names]
        upscale_batch(pairs, CHOICE, EXACT, options, settings, tell=tell, **more)
        return SimpleNamespace(crew=crew, results=results, errors=errors, notes=notes, progress=seen)

    return go


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory):  # noqa: F811
    """What one run makes."""
    target = tmp_path_factory.mktemp("whole") / "whole.mkv"
    upscale_video(video, target, PlainResize(2.0), EXACT, QUICK)
    return everything(target)


def test_workers_make_the_packets_of_one_run(run, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("osediff_video.farm.worker.CHUNK_BYTES", 10_000)
    outcome = run("a.mkv", "b.mkv")
    assert [result.frames for result in outcome.results] == [FRAMES] * 2 and not outcome.errors
    assert everything(tmp_path / "a.mkv") == everything(tmp_path / "b.mkv") == whole
    assert outcome.crew.largest == 10_000  # however large a segment is
    assert outcome.progress[-1].total == 2 * FRAMES and not list((tmp_path / "scratch").glob("osediff-worker-*"))
    again = run("a.mkv")
    assert again.results[0].already_finished


def test_the_longest_segments_go_first_over_all_videos(run):
    order = []

    def befall(member, method, arguments, count):
        if method == "make" and count == 1:
            order.append(arguments[2])

    run("a.mkv", "b.mkv", befall=befall)
    assert order[:6] and set(order[:6]) == {0, 1, 2} and order[-2:] == [3, 3]


def test_a_lost_worker_costs_a_segment_and_no_bit(run, whole, tmp_path):
    fates = iter(["lost", None, None, "lost"])

    def befall(member, method, arguments, count):
        return next(fates, None) if method == "make" and count == 2 else None

    outcome = run("a.mkv", befall=befall)
    assert everything(tmp_path / "a.mkv") == whole and outcome.crew.started == 4
    assert sum("lost (the machine is gone); its work is done again" in note for note in outcome.notes) == 2


def test_a_node_where_everything_fails_gets_no_more_work(run, whole, tmp_path):
    def befall(member, method, arguments, count):
        if member.node == "node 0" and method == "make":
            raise OSError(28, "No space left on device")

    outcome = run("a.mkv", befall=befall)
    assert everything(tmp_path / "a.mkv") == whole
    assert sum("No space left on device" in note for note in outcome.notes) == BAD_NODE
    assert any("gets no more work" in note for note in outcome.notes)


def test_what_fails_everywhere_fails_one_video_and_not_the_others(run, tmp_path):
    def befall(member, method, arguments, count):
        if method == "make" and arguments[0].name == "a.mkv" and arguments[2] == 1:
            raise MediaError("in.mp4: frame 30 is broken")

    outcome = run("a.mkv", "b.mkv", befall=befall)
    assert outcome.errors == ["in.mp4: frame 30 is broken"] and (tmp_path / "b.mkv").exists()
    resumed = run("a.mkv")
    assert resumed.results[0].resumed >= SEGMENT and resumed.results[0].frames == FRAMES


def test_a_segment_that_fails_twice_on_every_machine_ends_its_video_and_not_the_others(run, tmp_path, monkeypatch):
    monkeypatch.setattr(FakeCrew, "nodes", 1)  # nobody else could try it: waiting would not end
    tries = []

    def befall(member, method, arguments, count):
        if method == "make" and arguments[0].name == "a.mkv" and arguments[2] == 1:
            tries.append(member.name)
            raise MediaError("in.mp4: frame 30 is broken")

    outcome = run("a.mkv", "b.mkv", befall=befall)
    assert outcome.errors == ["segment 1 fails on every machine: in.mp4: frame 30 is broken"]
    assert len(tries) == MOST_ON_A_NODE and (tmp_path / "b.mkv").exists()


def test_a_segment_that_ends_every_worker_is_given_up(run, tmp_path):
    def befall(member, method, arguments, count):
        return "lost" if method == "make" and arguments[2] == 2 else None

    outcome = run("a.mkv", befall=befall)
    assert outcome.errors == [f"segment 2: lost with {MOST_LOSSES} workers, the last time: the machine is gone"]
    assert outcome.crew.started >= MOST_LOSSES


def test_no_machine_with_room_is_waited_for_and_then_named(run, monkeypatch):
    monkeypatch.setattr("osediff_video.farm.driver.WAIT_S", 0.0)
    monkeypatch.setattr(FakeCrew, "most", 0)
    with pytest.raises(OutputError, match=r"no machine of the cluster has 3 cores for a worker \(--worker-cores\)"):
        run("a.mkv", settings=FarmOptions(cluster="auto", cores=3))


def test_without_ray_one_line_says_how_to_get_it(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "osediff_video.farm.cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OutputError, match=r"need Ray, which is not here .*pip install 'osediff-video\[cluster\]'$"):
        open_crew(CHOICE, TWO, None)


def test_a_full_machine_to_which_an_input_is_shipped_gets_no_more_work(run, whole, tmp_path, monkeypatch):
    supply = FakeCrew.supply

    def full(self, member, files):
        if member.node == "node 0":
            raise OutputError("node 0: shipping files failed (No space left on device)")
        supply(self, member, files)

    monkeypatch.setattr(FakeCrew, "supply", full)
    outcome = run("a.mkv", settings=FarmOptions(cluster="auto", ship_input=True))
    assert everything(tmp_path / "a.mkv") == whole
    assert sum("No space left on device" in note for note in outcome.notes) == BAD_NODE


@pytest.mark.slow
def test_a_segment_that_is_overtaken_arrives_nowhere(run, whole, tmp_path, monkeypatch):
    """One worker hangs while the other makes all, and would go on when the result is there."""
    monkeypatch.setattr("osediff_video.farm.board.LEAST_SLOW_S", 0.0)
    monkeypatch.setattr("osediff_video.farm.board.SLOW", 0.0)
    first = []

    def befall(member, method, arguments, count):
        if method == "make" and count == 2 and not first:
            first.append(member.name)
        return "late" if member.name in first and not (tmp_path / "a.mkv").exists() else None

    outcome = run("a.mkv", befall=befall)
    assert not outcome.errors and everything(tmp_path / "a.mkv") == whole
    assert not job_folder(tmp_path / "a.mkv").exists()


def test_a_segment_that_arrives_damaged_is_made_again(run, whole, tmp_path, monkeypatch):
    make, damaged = Worker.make, []

    def bent(self, *arguments):
        for item in make(self, *arguments):
            if isinstance(item, bytes) and not damaged:
                damaged.append(1)
                item = item[:-1] + b"x"
            yield item

    monkeypatch.setattr(Worker, "make", bent)
    outcome = run("a.mkv")
    assert everything(tmp_path / "a.mkv") == whole and any("arrived damaged" in note for note in outcome.notes)


def stop_at_the_fourth_segment(member, method, arguments, count):
    if method == "make" and arguments[2] == 3:
        raise KeyboardInterrupt


def test_a_driver_that_is_stopped_resumes_to_the_same_packets(run, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("a.mkv", befall=stop_at_the_fourth_segment)
    folder = job_folder(tmp_path / "a.mkv")
    assert sorted(path.name for path in folder.glob("0*.mkv")) and not (tmp_path / "a.mkv").exists()
    outcome = run("a.mkv")
    assert outcome.results[0].resumed and everything(tmp_path / "a.mkv") == whole
    assert not folder.exists()


@pytest.mark.parametrize("node", ["node 0", "node 1"])
def test_machines_that_would_compute_other_bits_are_left_out(node, run, whole, tmp_path):
    """Also the one that comes first: another torch than that of the command is not what the others have to have."""
    facts = {node: {"torch": "1.0"}}
    outcome = run("a.mkv", facts=facts)
    assert everything(tmp_path / "a.mkv") == whole
    assert any(f"{node}: left out: bits would differ: torch is 1.0, not " in note for note in outcome.notes)
    mixed = run("b.mkv", facts=facts, settings=FarmOptions(workers=2, mixed=True))
    assert mixed.results and not any("left out" in note for note in mixed.notes)


def test_a_clock_that_jumps_changes_nothing(run, whole, tmp_path, monkeypatch):
    """Machines have other clocks: whoever asks for the time of day is told another day each time."""
    days = iter(range(0, 10**9, 86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(days)))
    outcome = run("a.mkv", settings=FarmOptions(cluster="auto", ship_input=True))
    assert not outcome.errors and everything(tmp_path / "a.mkv") == whole


def test_a_job_that_is_resumed_decides_which_machines_fit(run, whole, tmp_path):
    """Otherwise the machine that comes first would, and the job would be refused to all that fit."""

    with pytest.raises(KeyboardInterrupt):
        run("a.mkv", befall=stop_at_the_fourth_segment)
    assert not list(tmp_path.glob("a.mkv.osediff/.osediff-*"))  # half a segment is of no use
    outcome = run("a.mkv", facts={"node 0": {"processor": "ANOTHER"}})
    assert outcome.results[0].resumed and everything(tmp_path / "a.mkv") == whole
    assert any("node 0: left out: bits would differ: processor is ANOTHER" in note for note in outcome.notes)


def test_a_model_that_no_machine_has_ends_the_batch(run, monkeypatch):
    def missing(*_, **__):
        raise ModelNotFoundError("there is no model 'other' here")

    monkeypatch.setattr("osediff_video.farm.worker.load_upscaler", missing)
    with pytest.raises(OutputError, match=r"no worker is left that can work: node .: there is no model 'other' here"):
        run("a.mkv")


def test_shipped_inputs_need_no_shared_storage(run, whole, tmp_path, monkeypatch):
    make, opened = worker.make_planned, []

    def seen(plan, *rest, **named):
        opened.append(plan.path)
        return make(plan, *rest, **named)

    monkeypatch.setattr(worker, "make_planned", seen)
    run("a.mkv", settings=FarmOptions(cluster="auto", ship_input=True))
    assert everything(tmp_path / "a.mkv") == whole
    assert opened and all(path.is_relative_to(tmp_path / "scratch") for path in opened)


def test_what_workers_cannot_do_is_refused(run, tmp_path):
    assert "need a file as input and as output" in run("-").errors[0]
    with pytest.raises(OutputError, match="maps of uncertainty"):
        run("a.mkv", options=VideoOptions(uncertainty=str(tmp_path)))
    (tmp_path / "b.mkv").write_bytes(b"mine")
    outcome = run("b.mkv")
    assert "already exists" in outcome.errors[0] and outcome.crew.started == 0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("8.8.8.8:6379", "8.8.8.8 is a public address"),
        ("[2001:4860:4860::8888]:6379", "is a public address"),
        ("127.0.0.1:1", "no cluster answers there"),
        ("ray://127.0.0.1:10001", "expected HOST:PORT"),
        ("localhost", "expected HOST:PORT"),
        ("127.0.0.1:99999999", "no machine of this name|no cluster answers"),
    ],
)
def test_addresses_that_are_none_or_open_to_all_are_refused(address, message):
    with pytest.raises(OutputError, match=message):
        check_address(address, patience_s=0.5)


def test_a_slow_piece_is_begun_once_more_by_a_worker_that_would_be_idle(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("osediff_video.farm.board.time.monotonic", lambda: now[0])
    board = Board()
    for index in range(3):
        board.add(Piece(0, "segment", index, 100.0))
    slow, quick = board.begin("a", "m"), board.begin("b", "n")
    now[0] = 10
    assert board.done("b", "n") == (quick, []) and board.begin("b", "n").index == 2
    now[0] = 20
    board.done("b", "n")
    assert board.begin("b", "n") is None  # 20 s are no more than twice as long as usual
    now[0] = 31
    assert board.begin("b", "n") == slow
    assert board.begin("c", "o") is None  # two are enough
    assert board.done("b", "n") == (slow, ["a"])
    assert board.lost("a") == (None, False) and not board.waiting and not board.running


def test_what_was_lost_is_made_next_and_what_failed_last():
    board = Board()
    for index in range(4):
        board.add(Piece(0, "segment", index, 100.0))
    lost, failed = board.begin("a", "m"), board.begin("b", "n")
    board.failed("b", "n")
    board.lost("a")
    assert [board.begin(name, "o") for name in "cdef"] == [
        lost,
        *[Piece(0, "segment", n, 100.0) for n in (2, 3)],
        failed,
    ]


def test_scratch_of_workers_that_were_killed_is_removed(tmp_path):
    gone, alive = tmp_path / "osediff-worker-999999999-x", tmp_path / "osediff-worker-1-x"
    gone.mkdir()
    alive.mkdir()
    remove_abandoned(tmp_path)
    assert not gone.exists() and alive.exists()
