"""The sink that writes captures: gathering, a full disk, rotation, retention."""

import errno
import os
from pathlib import Path

import pytest

from taskstream.batch import Batch
from taskstream.capture.content import Header, Loss, Names, content_of
from taskstream.capture.frame import Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.capture.rotation import Rotation, parts_of
from taskstream.errors import CaptureError
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
