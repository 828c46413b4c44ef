"""The sink that writes captures: gathering, a full disk, rotation, retention."""

import errno
import os
from pathlib import Path

import pytest

from taskstream.batch import Batch
from taskstream.capture.content import Header, Loss, Names, content_of
from taskstream.capture.frame import Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.capture.rotation import Rotation, part_path, parts_of
from taskstream.cli.capturing import capture_line
from taskstream.errors import CaptureError
from taskstream.message.columns import pack
from taskstream.report import Report
from taskstream.sink.capture import MOST_EVENTS
from tests.capturing import Ticks, capture_sink, report
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, event, known, lives


def contents(path: Path) -> list[object]:
    with CaptureFile(path) as file:
        return [content_of(item) for item in file.items() if isinstance(item, Frame)]


def batches(path: Path) -> list[Batch]:
    return [c for c in contents(path) if isinstance(c, Batch)]


class Disk:
    """A disk that can be full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        real_write, real_open = os.write, os.open

        def write(descriptor: int, data: memoryview) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_write(descriptor, data)

        def open_(path: Path, flags: int, mode: int = 0o777) -> int:
            if self.full and flags & os.O_CREAT:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real_open(path, flags, mode)

        monkeypatch.setattr(os, "write", write)
        monkeypatch.setattr(os, "open", open_)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


# --- gathering -----------------------------------------------------------------------------------


def test_small_batches_become_one_frame(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc")
    whole = lives(10)
    for row in range(len(whole)):
        sink.write(Batch(ORIGIN, whole.records[row : row + 1], WALL_OFFSET_NS, whole.texts))
    assert sink.account.in_flight == len(whole)
    sink.close()
    (one,) = batches(tmp_path / "a.tsc")
    assert known(one) == known(whole)
    assert sink.account.delivered == len(whole)


def test_events_wait_for_one_flush_interval_at_most(tmp_path):
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks, flush_ms=1000)
    sink.write(lives(1))
    ticks.ns += 999_999_999
    sink.tick()
    assert sink.account.in_flight == 4
    ticks.ns += 1
    sink.tick()
    assert sink.account.in_flight == 0
    assert len(batches(tmp_path / "a.tsc")) == 1


def test_a_frame_is_written_as_soon_as_there_are_events_for_it(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc")
    sink.write(lives(MOST_EVENTS // 4))
    assert sink.account.delivered == MOST_EVENTS


def test_a_step_of_the_wall_clock_begins_a_new_frame(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc")
    one = lives(2)
    sink.write(one)
    sink.write(Batch(ORIGIN, lives(3).records, WALL_OFFSET_NS + 3600 * 10**9, lives(3).texts))
    sink.close()
    offsets = [b.wall_offset_ns - WALL_OFFSET_NS for b in batches(tmp_path / "a.tsc")]
    assert offsets == [0, 3600 * 10**9]


# --- a full disk ---------------------------------------------------------------------------------


def test_a_full_disk_costs_counted_events_and_is_told_in_the_file(tmp_path, disk):
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks, flush_ms=0)
    sink.write(lives(2))
    disk.full = True
    sink.write(lives(5))
    assert "No space left on device" in sink.trouble
    assert (sink.account.delivered, sink.account.dropped) == (8, 20)
    disk.full = False
    ticks.ns += 999_000_000
    sink.write(lives(1))  # the disk is left alone for a second
    assert sink.account.dropped == 24
    ticks.ns += 1_000_000
    sink.write(lives(3))
    assert not sink.trouble
    sink.report(report(0))
    sink.close()
    assert (sink.account.delivered, sink.account.dropped, sink.account.in_flight) == (20, 24, 0)

    found = contents(tmp_path / "a.tsc")
    (loss,) = (c for c in found if isinstance(c, Loss))
    assert loss.events == 24
    assert sum(sum(counts.values()) for counts in loss.cpus.values()) == 24
    assert loss.cpus[0]["fork_process"] == 4  # three of five, and the one
    (told,) = (c for c in found if isinstance(c, Report))
    assert sum(sum(cpu.dropped) for cpu in told.cpus) == 24
    with CaptureFile(tmp_path / "a.tsc") as file:
        ends = file.trailer()
    assert ends is not None
    assert (ends[1].received, ends[1].dropped) == (44, 24)


def test_running_tasks_that_are_dropped_are_in_no_count(tmp_path, disk):
    sink = capture_sink(tmp_path / "a.tsc", flush_ms=0)
    disk.full = True
    sink.write(batch(event("task"), event("task"), event("fork")))
    assert sink.account.dropped == 3
    assert sum(sink.dropped(0)) == 1


def test_a_disk_that_stays_full_does_not_keep_the_end_from_coming(tmp_path, disk):
    sink = capture_sink(tmp_path / "a.tsc")
    sink.write(lives(2))
    disk.full = True
    sink.report(report(0))
    sink.close()
    assert (sink.account.dropped, sink.account.in_flight) == (8, 0)
    assert [type(c) for c in contents(tmp_path / "a.tsc")] == [Header]


def test_names_that_find_no_room_are_written_before_the_next_events(tmp_path, disk):
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks, flush_ms=0)
    disk.full = True
    sink.names(Names(boot_ns=1, cgroups={1: "/", 2: "/old"}))
    sink.write(lives(1))
    sink.names(Names(boot_ns=2, cgroups={2: "/new", 3: "/three"}, groups={3: "web"}))
    disk.full = False
    ticks.ns += 10**9
    sink.write(lives(1))
    sink.close()
    found = contents(tmp_path / "a.tsc")
    assert [type(c) for c in found[:4]] == [Header, Names, Loss, Batch]
    assert found[1] == Names(boot_ns=2, cgroups={1: "/", 2: "/new", 3: "/three"}, groups={3: "web"})


def test_a_file_that_is_begun_while_there_is_no_room_for_the_end_of_the_last_has_the_names(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.tsc"
    sink = capture_sink(path, rotation=Rotation(file_bytes=2000), flush_ms=0)
    sink.names(Names(boot_ns=1, cgroups={1: "/one"}))
    sink.write(lives(30))

    def close() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sink.files.writer, "close", close)
    sink.write(lives(30))
    sink.close()
    assert [c.cgroups for c in contents(part_path(path, 2)) if isinstance(c, Names)] == [
        {1: "/one"}
    ]


def test_reports_that_find_no_room_are_written_in_order_before_what_comes_after(tmp_path, disk):
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks, flush_ms=0)
    sink.write(lives(1))
    sink.report(report(0))
    disk.full = True
    for number in (1, 2):
        sink.write(lives(2))
        sink.report(report(number))
    disk.full = False
    ticks.ns += 10**9
    sink.write(lives(3))
    sink.report(report(3))
    sink.close()
    found = contents(tmp_path / "a.tsc")
    kinds = [type(c) for c in found[1:-2]]
    assert kinds == [Batch, Report, Loss, Report, Report, Batch, Report]
    told = [c for c in found if isinstance(c, Report)]
    assert [one.interval for one in told] == [report(n).interval for n in range(4)]
    assert [sum(sum(cpu.dropped) for cpu in one.cpus) for one in told] == [0, 8, 16, 16]
    assert sink.complete is False
    assert sink.lost_reports == 0


def test_reports_that_come_while_nothing_else_does_are_written_when_there_is_room(tmp_path, disk):
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks, flush_ms=0)
    disk.full = True
    sink.report(report(0))
    assert sink.trouble
    disk.full = False
    ticks.ns += 10**9
    sink.report(report(1))
    assert not sink.trouble
    sink.close()
    told = [c.interval for c in contents(tmp_path / "a.tsc") if isinstance(c, Report)]
    assert told == [report(0).interval, report(1).interval]
    assert sink.complete


def test_the_reports_that_wait_are_bounded_and_those_that_are_given_up_are_counted(
    tmp_path, disk, monkeypatch
):
    monkeypatch.setattr(
        "taskstream.sink.capture.MOST_REPORT_BYTES", 4 * len(pack(report(9).to_map()))
    )
    ticks = Ticks()
    sink = capture_sink(tmp_path / "a.tsc", ticks=ticks)
    disk.full = True
    for number in range(10):
        sink.report(report(number))
    assert sink.lost_reports == 6
    disk.full = False
    ticks.ns += 10**9
    sink.report(report(10))
    sink.close()
    told = [c.interval for c in contents(tmp_path / "a.tsc") if isinstance(c, Report)]
    assert told == [report(n).interval for n in range(6, 11)]
    assert "; 6 reports found no room" in capture_line(sink)
    assert not sink.complete


def test_reports_for_which_there_is_no_room_at_the_end_are_counted(tmp_path, disk):
    sink = capture_sink(tmp_path / "a.tsc")
    disk.full = True
    sink.report(report(0))
    sink.close()
    assert sink.lost_reports == 1
    assert "; 1 report found no room" in capture_line(sink)


def test_a_disk_that_has_room_again_at_the_end_takes_what_waited(tmp_path, disk):
    sink = capture_sink(tmp_path / "a.tsc")
    sink.report(report(0))
    disk.full = True
    sink.report(report(1))
    disk.full = False
    sink.write(lives(2))
    sink.close()  # within the second in which the disk is left alone
    assert sink.complete
    kinds = [type(c) for c in contents(tmp_path / "a.tsc")[1:-2]]
    assert kinds == [Report, Report, Batch]


# --- rotation ------------------------------------------------------------------------------------


def parts(path: Path) -> list[str]:
    return [part.name for _, part in parts_of(path)]


def test_a_long_file_is_followed_by_another(tmp_path):
    path = tmp_path / "a.tsc"
    sink = capture_sink(path, rotation=Rotation(file_bytes=4096), flush_ms=0)
    given = [lives(30, first_pid=1000 * n) for n in range(4)]
    sink.files.names(Names(boot_ns=1, cgroups={1: "/", 2: "/old"}))
    for one in given:
        sink.write(one)
        sink.files.names(Names(boot_ns=2, cgroups={2: "/new"}))
    sink.close()
    assert parts(path) == [f"a.{n:06}.tsc" for n in range(1, sink.files.files + 1)]
    assert sink.files.files > 1
    read = [known(b) for _, part in parts_of(path) for b in batches(part)]
    assert read == [known(b) for b in given]
    for number, part in parts_of(path):
        with CaptureFile(part) as file:
            assert file.header is not None
            assert file.header.part == number
            assert file.trailer() is not None
        first = next(c for c in contents(part) if isinstance(c, Names))
        assert first.cgroups == {1: "/", 2: "/old" if number == 1 else "/new"}


def test_an_old_file_is_followed_by_another(tmp_path):
    ticks = Ticks()
    path = tmp_path / "a.tsc"
    sink = capture_sink(path, rotation=Rotation(file_s=60), ticks=ticks, flush_ms=0)
    ages_s = (0, 1, 59, 61, 62)
    for age_s in ages_s:
        ticks.ns = ORIGIN.run_ns + age_s * 10**9
        sink.write(batch(event("fork", boot_ns=ticks.ns)))
    sink.close()
    sizes = [sum(map(len, batches(part))) for _, part in parts_of(path)]
    assert sizes == [3, 2]


def test_the_oldest_files_are_deleted_when_all_are_too_long(tmp_path):
    path = tmp_path / "a.tsc"
    (tmp_path / "a.tsc.bak").write_bytes(bytes(10**6))
    bound = Rotation(file_bytes=3000, total_bytes=12_000)
    sink = capture_sink(path, rotation=bound, flush_ms=0)
    for n in range(40):
        sink.write(lives(20, first_pid=1000 * n))
        others = [p for _, p in parts_of(path) if p != sink.files.writer.path]
        assert sum(p.stat().st_size for p in others) <= 12_000
    sink.close()
    assert sum(p.stat().st_size for _, p in parts_of(path)) <= 12_000
    assert sink.files.deleted > 0
    assert len(parts(path)) == sink.files.files - sink.files.deleted
    assert parts(path)[-1] == f"a.{sink.files.files:06}.tsc"
    assert (tmp_path / "a.tsc.bak").exists()


def test_a_second_run_goes_on_behind_the_files_of_the_first(tmp_path):
    path = tmp_path / "a.tsc"
    for _ in range(2):
        sink = capture_sink(path, rotation=Rotation(file_bytes=1 << 20))
        sink.write(lives(1))
        sink.close()
    assert parts(path) == ["a.000001.tsc", "a.000002.tsc"]


def test_without_room_for_the_next_file_the_last_one_goes_on(tmp_path, disk):
    ticks = Ticks()
    path = tmp_path / "a.tsc"
    sink = capture_sink(path, rotation=Rotation(file_bytes=2000), ticks=ticks, flush_ms=0)
    sink.write(lives(30))
    disk.full = True
    sink.write(lives(30))
    disk.full = False
    ticks.ns += 10**9
    sink.write(lives(30))
    sink.close()
    assert (sink.account.delivered, sink.account.dropped) == (240, 120)
    assert parts(path) == ["a.000001.tsc", "a.000002.tsc"]
    with CaptureFile(tmp_path / "a.000002.tsc") as file:
        ends = file.trailer()
    assert ends is not None
    assert ends[1].dropped == 120


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CaptureError, match="cannot be made: No such file"):
        capture_sink(tmp_path / "absent" / "a.tsc")


def test_the_kind_of_a_frame_tells_running_tasks_from_events(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc", flush_ms=0)
    sink.write(batch(event("task"), event("task")))
    sink.write(batch(event("task"), event("fork")))
    sink.close()
    with CaptureFile(tmp_path / "a.tsc") as file:
        kinds = [item.kind for item in file.items() if isinstance(item, Frame)]
    assert kinds[1:3] == [FrameKind.SNAPSHOT, FrameKind.BATCH]
