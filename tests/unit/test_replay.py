"""Replaying: the same stream again, in its order, at its pace; damage is told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from taskstream.batch import Batch
from taskstream.capture.content import Loss, Names
from taskstream.capture.frame import Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.capture.rotation import Rotation
from taskstream.errors import CaptureError, MessageError
from taskstream.replay import Replay, ReplayTotals
from taskstream.report import Report
from taskstream.selection import Selection
from tests.capturing import a_capture, capture_sink, report, sample
from tests.plain_capture import frames_of
from tests.synthetic import ORIGIN, batch, event, known


@dataclass
class Recorder:
    """Keeps what it is given, and the clock's time at which it was."""

    packed: bool = False
    stream: list[object] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    frames: int = 0
    clock_s: float = 0.0

    def _take(self, thing: object) -> None:
        self.stream.append(thing)
        self.times_s.append(round(self.clock_s, 3))

    def frame(self, frame: Frame) -> bool:
        self.frames += self.packed
        return self.packed

    def write(self, batch: Batch) -> None:
        self._take(batch)

    def report(self, report: Report) -> None:
        self._take(report)

    def names(self, names: Names) -> None:
        self._take(names)

    def loss(self, loss: Loss) -> None:
        self._take(loss)

    def wait(self, stop: Callable[[], bool]) -> None:
        """There is always room."""

    def now_ns(self) -> int:
        return int(self.clock_s * 1e9)

    def sleep(self, seconds: float) -> None:
        self.clock_s += seconds


def play(
    *paths: Path,
    selection: Selection | None = None,
    stop: Callable[[], bool] = lambda: False,
    recorder: Recorder | None = None,
    **options: object,
) -> tuple[Recorder, ReplayTotals]:
    recorder = recorder or Recorder()
    files = [CaptureFile(path) for path in paths]
    job = Replay(
        files,
        recorder,
        selection=selection or Selection(),
        now_ns=recorder.now_ns,
        sleep=recorder.sleep,
        **options,
    )
    try:
        return recorder, job.run(stop)
    finally:
        for file in files:
            file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_capture(tmp_path / "a.tsc", sample())


def events_in(recorder: Recorder) -> list[dict[str, object]]:
    return [e for one in recorder.stream if isinstance(one, Batch) for e in known(one)]


def test_a_target_is_given_the_stream_that_was_captured(path):
    recorder, totals = play(path)
    given = sample()
    assert [type(item) for item in recorder.stream] == [type(item) for item in given]
    assert events_in(recorder) == [e for b in given if isinstance(b, Batch) for e in known(b)]
    assert [i for i in recorder.stream if isinstance(i, Report)] == [
        report(0),
        report(1, final=True),
    ]
    assert totals.line() == "read 105 = replayed 105 + left out 0"
    assert totals.complete


def test_a_target_that_takes_frames_has_nothing_decoded_for_it(path):
    recorder, totals = play(path, recorder=Recorder(packed=True))
    assert not events_in(recorder)
    assert recorder.frames == 4
    assert totals.replayed == 105


def test_a_selection_is_decoded_even_so(path):
    recorder, totals = play(
        path, recorder=Recorder(packed=True), selection=Selection(kinds=("exit",))
    )
    assert {event["kind"] for event in events_in(recorder)} == {3}
    assert totals.line() == "read 105 = replayed 26 + left out 79"


def test_names_in_the_capture_say_which_paths_are_meant(tmp_path):
    inside = batch(event("fork", cgroup_id=77), event("fork", cgroup_id=1))
    path = a_capture(tmp_path / "a.tsc", [sample()[1], inside])
    recorder, _ = play(path, selection=Selection(cgroups=("/größe*",)))
    assert [event["cgroup_id"] for event in events_in(recorder)] == [77]


def test_captures_come_one_after_another(tmp_path, path):
    second = a_capture(tmp_path / "b.tsc", [batch(event("fork", pid=4711))])
    recorder, totals = play(path, second)
    assert totals.read == 106
    assert events_in(recorder)[-1]["pid"] == 4711


def test_a_stop_is_obeyed_between_two_frames(path):
    recorder = Recorder()
    _, totals = play(path, recorder=recorder, stop=lambda: len(recorder.stream) >= 2)
    assert len(recorder.stream) == 2
    assert totals.read == 3


# --- time ----------------------------------------------------------------------------------------


def test_from_and_until_choose_by_the_time_of_the_event(path):
    middle = ORIGIN.run_ns + 30 * 1_000_000
    late, _ = play(path, selection=Selection(from_ns=middle))
    early, _ = play(path, selection=Selection(until_ns=middle))
    whole, _ = play(path)
    assert all(event["boot_ns"] >= middle for event in events_in(late))
    assert all(event["boot_ns"] < middle for event in events_in(early))
    numbers = sorted(e["seq"] for r in (late, early) for e in events_in(r))
    assert numbers == sorted(event["seq"] for event in events_in(whole))


def spread(path: Path, seconds: int) -> Path:
    """Make a capture with an event every tenth of a second, and a report every second."""
    items: list[Batch | Report] = []
    for second in range(seconds):
        times = (ORIGIN.run_ns + int((second + tenth / 10) * 1e9) for tenth in range(10))
        items += [batch(*(event("fork", boot_ns=time) for time in times)), report(second)]
    return a_capture(path, items)


@pytest.mark.parametrize(("speed", "length_s"), [(1, 3.0), (2, 1.5), (0.5, 6.0), (60, 0.05)])
def test_at_a_speed_the_distances_in_time_are_kept(tmp_path, speed, length_s):
    path = spread(tmp_path / "a.tsc", 3)
    recorder, _ = play(path, speed=speed)
    assert recorder.times_s[-1] == pytest.approx(length_s, abs=0.01)
    first = next(i for i in recorder.stream if isinstance(i, Batch))
    for one, time_s in zip(recorder.stream, recorder.times_s, strict=True):
        if isinstance(one, Batch):
            after_s = (int(one.records["boot_ns"][0]) - int(first.records["boot_ns"][0])) / 1e9
            assert time_s == pytest.approx(after_s / speed, abs=0.01)
    assert len(events_in(recorder)) == 30


def test_as_fast_as_it_goes_nobody_sleeps(tmp_path):
    recorder, _ = play(spread(tmp_path / "a.tsc", 3))
    assert recorder.clock_s == 0


def test_the_gap_between_two_runs_is_not_slept_through(tmp_path):
    later = replace(ORIGIN, run_ns=ORIGIN.run_ns + 3600 * 10**9)
    paths = [
        a_capture(tmp_path / "a.tsc", [batch(event("fork"))]),
        tmp_path / "b.tsc",
    ]
    sink = capture_sink(paths[1], origin=later)
    sink.write(batch(event("fork", boot_ns=later.run_ns), origin=later))
    sink.close()
    recorder, totals = play(*paths, speed=1)
    assert totals.replayed == 2
    assert recorder.clock_s < 1


def test_a_sleep_ends_when_it_is_time_to_stop(tmp_path):
    path = a_capture(
        tmp_path / "a.tsc", [batch(event("fork"), event("exit", boot_ns=ORIGIN.run_ns + 10**15))]
    )
    recorder = Recorder()
    _, totals = play(path, recorder=recorder, speed=1, stop=lambda: recorder.clock_s > 5)
    assert recorder.clock_s < 6
    assert totals.replayed == 1


# --- damage --------------------------------------------------------------------------------------


def damaged(path: Path) -> int:
    """Spoil the second frame of events; return where it begins."""
    data = bytearray(path.read_bytes())
    offset = [f.offset for f in frames_of(bytes(data)) if f.kind == "batch"][1]
    data[offset + 70] ^= 1
    path.write_bytes(data)
    return offset


def test_a_damaged_frame_ends_a_replay_with_its_place_and_what_to_do(path):
    offset = damaged(path)
    recorder = Recorder()
    with pytest.raises(CaptureError, match=f"bytes at byte {offset}: checksum mismatch"):
        play(path, recorder=recorder)
    assert len(events_in(recorder)) == 3 + 50
    with pytest.raises(CaptureError, match="--skip-damaged goes on"):
        play(path)


def test_a_damaged_frame_can_be_skipped_and_is_counted(path):
    offset = damaged(path)
    recorder, totals = play(path, skip_damaged=True)
    assert len(events_in(recorder)) == 55
    ((name, damage),) = totals.damages
    assert (name, damage.offset) == (str(path), offset)
    assert not totals.complete
    assert "damaged, cut or missing: 1 place, " in totals.line()


def test_a_cut_file_is_replayed_to_the_cut(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1100])
    recorder, totals = play(path)
    assert len(events_in(recorder)) == 105
    assert totals.damages[0][1].cut
    assert not totals.complete


def spans(path: Path) -> list[tuple[int, int]]:
    """Return where each frame of a capture begins and ends."""
    data = path.read_bytes()
    begins = [frame.offset for frame in frames_of(data)]
    return list(zip(begins, [*begins[1:], len(data)], strict=True))


def test_a_file_cut_between_two_frames_is_replayed_and_told(path):
    data = path.read_bytes()
    for _, end in spans(path)[:-1]:
        path.write_bytes(data[:end])
        _, totals = play(path)
        ((_, damage),) = totals.damages
        assert (damage.offset, damage.size_bytes, damage.cut) == (end, 0, True)
        assert "no trailer" in damage.reason
        assert not totals.complete


def test_a_file_of_its_first_bytes_alone_is_told(path):
    path.write_bytes(path.read_bytes()[:8])
    _, totals = play(path)
    assert [str(damage)[:6] for _, damage in totals.damages] == ["byte 8"]


def test_a_frame_that_was_taken_out_is_told_with_its_number(path):
    data = path.read_bytes()
    for number, (begin, end) in enumerate(spans(path)[:-1]):
        path.write_bytes(data[:begin] + data[end:])
        with pytest.raises(CaptureError, match=f"frame {number + 1} where {number} should"):
            play(path)
        _, totals = play(path, skip_damaged=True)
        assert [(d.offset, d.size_bytes) for _, d in totals.damages] == [(begin, 0)]


def test_where_the_index_says_to_begin_no_frame_is_missed(path):
    selection = Selection(from_ns=int(1e18))
    _, totals = play(path, selection=selection)
    assert totals.complete


def test_a_part_that_is_missing_between_two_others_is_told(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc", rotation=Rotation(file_bytes=1))
    for number in range(4):
        sink.write(batch(event("fork", seq=number)))
        sink.flush()
    sink.close()
    first, second, third, *_ = sorted(tmp_path.glob("a.*.tsc"))
    assert play(first, second, third)[1].complete
    assert play(second, third)[1].complete
    _, totals = play(first, third)
    ((name, damage),) = totals.damages
    assert (name, damage.reason) == (str(third), "part 3 of its run, where part 2 should be")


def test_what_a_capture_could_not_hold_is_handed_on(tmp_path):
    loss = Loss(boot_ns=ORIGIN.run_ns, reason="no room", events=7, cpus={1: {"processes": 7}})
    sink = capture_sink(tmp_path / "b.tsc")
    sink.copy_loss(loss)
    sink.close()
    recorder, totals = play(tmp_path / "b.tsc")
    assert recorder.stream == [loss]
    assert totals.lost == 7


@pytest.mark.parametrize("content", ["batch", "report"])
def test_a_frame_that_is_none_is_told_with_file_and_place(tmp_path, content):
    sink = capture_sink(tmp_path / "a.tsc")
    kind = {"batch": FrameKind.BATCH, "report": FrameKind.REPORT}[content]
    sink.files.append(kind, b"\xc1", first_ns=0, last_ns=0)
    sink.close()
    with pytest.raises(
        (CaptureError, MessageError), match=r"a\.tsc: frame at byte \d+.*FormatError"
    ):
        play(tmp_path / "a.tsc")


def test_events_after_the_last_report_are_told(tmp_path):
    path = a_capture(tmp_path / "a.tsc", [report(0), batch(event("fork"), event("exit"))])
    _, totals = play(path)
    assert totals.unreported == 2
