"""The spool's folder: a queue in order, bounded, whose content outlives its owner."""

import errno
import os
import zlib
from pathlib import Path

import pytest

from taskstream.batch import Batch, Origin
from taskstream.capture.frame import FORMAT
from taskstream.errors import ConfigError
from taskstream.report import Report
from taskstream.spool.spool import Spool, SpoolBounds
from tests.capturing import ABOUT, Ticks, report
from tests.needs import need_root
from tests.synthetic import ORIGIN, lives


class Open:
    """A spool, and what it gave up."""

    def __init__(self, folder: Path, **bounds: int) -> None:
        self.dropped: list[tuple[Batch, bool]] = []
        self.damaged: list[tuple[int, bool]] = []
        self.wall_ns = 10**18
        self.spool = Spool(
            folder,
            ORIGIN,
            ABOUT,
            SpoolBounds(**bounds),
            clocks=Ticks().pair,
            on_drop=lambda batch, own: self.dropped.append((batch, own)),
            on_damage=lambda events, own: events and self.damaged.append((events, own)),
            wall_ns=lambda: self.wall_ns,
        )

    def numbers(self, *, settle: bool = True) -> list[int]:
        """Take everything; return the pids in the order in which they came."""
        found = []
        while (one := self.spool.read()) is not None:
            content, segment = one
            if isinstance(content, Batch):
                found += sorted(set(content.records["pid"].tolist()))
                if settle:
                    self.spool.settled(segment, len(content))
        return found

    def left_out(self) -> int:
        return sum(len(batch) for batch, _ in self.dropped)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.tsc"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let segments be closed after a few hundred bytes."""
    monkeypatch.setattr(SpoolBounds, "segment_bytes", property(lambda _self: 5000))


def one(number: int) -> Batch:
    return lives(1, first_pid=number)


def test_the_folder_is_for_its_owner_alone(folder):
    open_ = Open(folder)
    open_.spool.append(one(1))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o755, 0o1777, 0o710, 0o701])
def test_a_folder_that_others_may_enter_is_refused_and_stays_as_it_is(folder, mode):
    folder.mkdir()
    folder.chmod(mode)
    said = f"has mode {mode:04o}.* chmod 700 {folder}, .* a directory that is not there yet"
    with pytest.raises(ConfigError, match=said):
        Open(folder)
    assert folder.stat().st_mode & 0o7777 == mode
    assert list(folder.iterdir()) == []
    folder.chmod(0o700)
    Open(folder)


def test_a_folder_of_another_user_is_refused_and_stays_as_it_is(folder):
    need_root("a folder is given to another user")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(ConfigError, match=r"belongs to user 65534, .* a directory that is not"):
        Open(folder)
    assert folder.stat().st_uid == 65534
    assert list(folder.iterdir()) == []


def test_what_goes_in_first_comes_out_first(folder, small):
    open_ = Open(folder)
    for number in range(1, 40):
        open_.spool.append(one(number))
    assert len(files(folder)) > 3
    assert open_.spool.unread == 39 * 4
    assert open_.numbers() == list(range(1, 40))
    assert open_.spool.unread == 0
    assert not open_.spool.pending


def test_a_segment_goes_when_all_its_events_have_their_fate(folder):
    open_ = Open(folder)
    open_.spool.append(one(1))
    content, segment = open_.spool.read()
    open_.spool.collect()
    assert len(files(folder)) == 1
    open_.spool.settled(segment, 3)
    open_.spool.collect()
    assert len(files(folder)) == 1
    open_.spool.settled(segment, 1)
    open_.spool.collect()
    assert files(folder) == []
    assert len(content) == 4


def test_reports_keep_their_place(folder):
    open_ = Open(folder)
    open_.spool.append(one(1))
    assert open_.spool.append_report(report(0))
    open_.spool.append(one(2))
    assert open_.spool.append_report(report(1))
    kinds = []
    while (found := open_.spool.read()) is not None:
        kinds.append(type(found[0]))
    assert kinds == [Batch, Report, Batch, Report]
    assert not open_.spool.pending


def test_a_report_that_was_published_from_memory_is_kept_until_it_is_acknowledged(folder):
    open_ = Open(folder)
    open_.spool.append(one(1), read=True)
    place = open_.spool.append_report(report(0), read=True)
    assert not open_.spool.pending
    open_.spool.cut()
    open_.spool.settled(place.segment, 4)
    open_.spool.collect()
    assert len(files(folder)) == 1
    open_.spool.settled(place.segment, 0, reports=1)
    open_.spool.collect()
    assert files(folder) == []


def test_what_is_left_is_there_for_the_next_run(folder):
    first = Open(folder)
    first.spool.append(one(1))
    first.spool.append_report(report(0))
    first.spool.close()
    second = Open(folder)
    assert second.spool.unread == 4
    second.spool.append(one(2))
    assert second.numbers() == [1, 2]
    assert [segment.own for segment in second.spool.segments] == [False, True]


def test_a_killed_owner_leaves_all_that_it_appended(folder):
    first = Open(folder)
    for number in range(1, 5):
        first.spool.append(one(number))
    (path,) = folder.glob("*.tsc")
    with path.open("ab") as file:
        file.write(b"\xf7TSf and then it was killed")
    os.close(first.spool._lock)  # as the kernel does for a killed process
    (folder / "000000000001.tsc").write_bytes(b"")  # killed before the first byte
    second = Open(folder)
    assert second.numbers() == [1, 2, 3, 4]
    assert second.damaged == []


def test_what_is_no_segment_is_left_alone(folder):
    folder.mkdir(mode=0o700)
    (folder / "mine.tsc").write_text("not a segment")
    open_ = Open(folder)
    open_.spool.append(one(1))
    assert open_.numbers() == [1]
    open_.spool.close()
    assert files(folder) == ["mine.tsc"]


def test_a_segment_of_a_newer_version_is_told_and_not_deleted(folder):
    first = Open(folder)
    first.spool.append(one(1))
    first.spool.close()
    (path,) = folder.glob("*.tsc")
    data = bytearray(path.read_bytes())
    data[16:18] = (FORMAT + 1).to_bytes(2, "little")  # of the first frame's head
    data[60:64] = zlib.crc32(data[8:60]).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=f"format {FORMAT + 1}; .* up to {FORMAT}"):
        Open(folder)
    assert path.exists()


def test_two_agents_do_not_share_a_folder(folder):
    first = Open(folder)
    with pytest.raises(ConfigError, match="is in use by another agent"):
        Open(folder)
    first.spool.close()
    Open(folder)


def test_a_folder_that_cannot_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "spool"):
        with pytest.raises(ConfigError, match="cannot be used: Not a directory"):
            Open(path)


# --- bounds --------------------------------------------------------------------------------------


def test_the_oldest_goes_when_the_spool_is_too_long_and_is_told(folder, small):
    open_ = Open(folder, total_bytes=30_000)
    for number in range(1, 101):
        open_.spool.append(one(number))
        assert open_.spool.size_bytes <= 30_000 + 6000
    assert all(own for _, own in open_.dropped)
    gone = [pid for batch, _ in open_.dropped for pid in set(batch.records["pid"].tolist())]
    assert gone
    assert gone == list(range(1, len(gone) + 1))
    assert open_.numbers() == list(range(len(gone) + 1, 101))
    assert open_.left_out() == 4 * len(gone)


def test_what_was_read_already_is_not_dropped_again(folder, small):
    open_ = Open(folder, total_bytes=30_000)
    open_.spool.append(one(1))
    open_.spool.append(one(2))
    content, _ = open_.spool.read()
    assert set(content.records["pid"].tolist()) == {1}
    for number in range(3, 101):
        open_.spool.append(one(number))
    assert 1 not in {pid for batch, _ in open_.dropped for pid in batch.records["pid"].tolist()}
    assert 2 in {pid for batch, _ in open_.dropped for pid in batch.records["pid"].tolist()}


def test_what_is_too_old_goes(folder, small):
    open_ = Open(folder, age_s=60)
    for number in range(1, 20):
        open_.wall_ns += 10 * 10**9
        open_.spool.append(one(number))
    open_.wall_ns += 10 * 10**9
    open_.spool.bound()
    left = open_.numbers()
    assert left[-1] == 19
    assert 0 < len(left) < 12
    assert open_.left_out() + 4 * len(left) == 19 * 4


# --- a full disk, damage -------------------------------------------------------------------------


def test_what_finds_no_room_is_given_back(folder, monkeypatch):
    open_ = Open(folder)
    open_.spool.append(one(1))
    real = os.write

    def full(_descriptor: int, _data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    place, left = open_.spool.append(one(2))
    assert place is None
    assert [set(part.records["pid"].tolist()) for part in left] == [{2}]
    assert not open_.spool.append_report(report(0))
    assert "No space left on device" in open_.spool.trouble
    monkeypatch.setattr(os, "write", real)
    place, left = open_.spool.append(one(3))
    assert place is not None
    assert (left, open_.spool.trouble) == ([], "")
    assert open_.numbers() == [1, 3]


def test_damaged_frames_are_passed_over_and_counted(folder):
    open_ = Open(folder)
    for number in range(1, 4):
        open_.spool.append(one(number))
    (path,) = folder.glob("*.tsc")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert open_.numbers() == [1, 2]
    assert open_.damaged == [(4, True)]


# --- what comes back -----------------------------------------------------------------------------


def test_what_comes_back_goes_before_everything_else(folder, small):
    open_ = Open(folder)
    for number in range(10, 20):
        open_.spool.append(one(number))
    assert open_.spool.prepend([one(number) for number in range(1, 9)]) == []
    assert open_.numbers() == [*range(1, 9), *range(10, 20)]
    open_.spool.close()


def test_what_comes_back_to_an_empty_spool_is_there_for_the_next_run(folder):
    first = Open(folder)
    first.spool.prepend([one(1), one(2)])
    first.spool.close()
    second = Open(folder)
    second.spool.prepend([one(0)])
    second.spool.append(one(3))
    assert second.numbers() == [0, 1, 2, 3]


def test_published_batches_that_were_not_sent_are_read_again(folder, small):
    open_ = Open(folder)
    places = [open_.spool.append(one(number), read=True)[0] for number in range(1, 21)]
    assert not open_.spool.pending
    unsent = places[12:]
    events: dict[object, int] = {}
    for place in unsent:
        events[place.segment] = events.get(place.segment, 0) + 4
    open_.spool.rewind(unsent[0], events, {})
    open_.spool.append(one(21))
    assert open_.numbers() == list(range(13, 22))
    for place in places[:12]:
        open_.spool.settled(place.segment, 4)
    open_.spool.close()
    assert files(folder) == []


def test_reports_that_come_back_keep_their_place(folder, small):
    open_ = Open(folder)
    open_.spool.append(one(9))
    open_.spool.append_report(report(9))
    assert open_.spool.prepend([one(1), report(1), one(2), report(2), report(3)]) == []
    starts = []
    while (found := open_.spool.read()) is not None:
        if isinstance(found[0], Report):
            starts.append(found[0].interval)
    assert starts == [report(number).interval for number in (1, 2, 3, 9)]


def test_published_reports_that_were_not_sent_are_read_again(folder):
    open_ = Open(folder)
    open_.spool.append(one(1), read=True)
    places = [open_.spool.append_report(report(number), read=True) for number in range(3)]
    open_.spool.rewind(places[1], {}, {places[1].segment: 2})
    found = []
    while (told := open_.spool.read()) is not None:
        found.append(told[0].interval)
    assert found == [report(1).interval, report(2).interval]


def test_a_batch_lies_in_one_segment(folder, small):
    open_ = Open(folder)
    large = lives(3000)
    place, left = open_.spool.append(large, read=True)
    assert left == []
    assert place.segment.unacked == len(large)


def test_the_origin_of_what_an_earlier_run_left_is_kept(folder):
    other = Origin("other", "boot", 5)
    first = Open(folder)
    first.spool.append(lives(1, origin=other))
    first.spool.close()
    second = Open(folder)
    content, segment = second.spool.read()
    assert content.origin == other
    assert not segment.own
