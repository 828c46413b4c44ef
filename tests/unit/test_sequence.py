"""The books of a stream: each number once, wherever it came from, and none unnoticed."""

import numpy as np
import pytest

from taskstream.batch import Batch, Origin
from taskstream.record import COUNTS, NO_CPU
from taskstream.report import CpuReport, Report
from taskstream.sequence import CpuSummary, NumbersSeen, StreamBooks
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, event

FIRST = ORIGIN.run_ns


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def runs(seen: NumbersSeen) -> list[tuple[int, int]]:
    return list(zip(seen.starts.tolist(), seen.ends.tolist(), strict=True))


def forks(*offsets: int, cpu: int = 0, origin: Origin = ORIGIN) -> Batch:
    """Make forks of one CPU with these numbers, counted from the first of the run."""
    return batch(*(event("fork", cpu=cpu, seq=FIRST + n) for n in offsets), origin=origin)


def report(
    *next_offsets: int, lost: int = 0, dropped: int = 0, boot_ns: int = 1, origin: Origin = ORIGIN
) -> Report:
    """Make a report: the next number of each CPU, and forks of CPU 0 that were given up."""
    none = (0,) * (len(COUNTS) - 1)
    cpus = tuple(
        CpuReport(cpu, FIRST + n, (n, *none), (lost * (not cpu), *none), (dropped, *none), 0)
        for cpu, n in enumerate(next_offsets)
    )
    return Report(origin, boot_ns, WALL_OFFSET_NS, cpus)


def summary(*entries: Batch | Report, from_start: bool = True) -> list[CpuSummary]:
    books = StreamBooks(from_start=from_start)
    for entry in entries:
        books.add(entry) if isinstance(entry, Batch) else books.report(entry)
    return books.summaries()


# --- numbers -------------------------------------------------------------------------------------


def test_consecutive_numbers_are_one_run_in_whatever_order_they_come():
    seen = NumbersSeen()
    for part in ((7, 8), (3,), (5, 4), (6,)):
        assert seen.add(numbers(*part)).all()
    assert runs(seen) == [(3, 9)]


def test_a_number_is_fresh_once():
    seen = NumbersSeen()
    assert seen.add(numbers(5, 6, 5)).tolist() == [True, True, False]
    assert seen.add(numbers(6, 7)).tolist() == [False, True]


def test_what_lies_between_runs_is_missing():
    seen = NumbersSeen()
    seen.add(numbers(1, 2, 5, 9))
    assert (seen.first, seen.after_last, seen.missing_between()) == (1, 10, 5)


def test_of_nothing_nothing_is_missing():
    seen = NumbersSeen()
    assert seen.add(numbers()).tolist() == []
    assert (seen.first, seen.after_last, seen.missing_between()) == (None, None, 0)


def test_numbers_beyond_the_range_of_doubles_are_told_apart():
    seen = NumbersSeen()
    huge = 2**63 + 2**60
    assert seen.add(numbers(huge, huge + 1)).all()
    assert not seen.add(numbers(huge + 1)).any()
    assert seen.missing_between() == 0


# --- gaps ----------------------------------------------------------------------------------------


def test_a_whole_stream_misses_nothing():
    (cpu,) = summary(forks(0, 1, 2), forks(3, 4), report(5))
    assert (cpu.events, cpu.duplicates, cpu.missing, cpu.unexplained) == (5, 0, 0, 0)
    assert cpu.reported


def test_a_gap_between_two_events_is_missing():
    (cpu,) = summary(forks(0, 1, 4, 5))
    assert (cpu.events, cpu.missing) == (4, 2)


def test_a_gap_is_closed_by_an_event_that_comes_late_from_another_partition():
    (cpu,) = summary(forks(4, 5), forks(0, 1), forks(2), forks(3))
    assert (cpu.events, cpu.duplicates, cpu.missing) == (6, 0, 0)


def test_a_gap_at_the_front_is_missing_if_the_stream_is_read_from_its_start():
    assert summary(forks(3, 4))[0].missing == 3
    assert summary(forks(3, 4), from_start=False)[0].missing == 0


def test_a_gap_at_the_end_is_known_by_the_report():
    assert summary(forks(0, 1), report(5))[0].missing == 3
    assert summary(forks(2, 3), report(5), from_start=False)[0].missing == 1


def test_a_report_from_before_the_last_events_takes_nothing_away():
    (cpu,) = summary(forks(0, 1, 2, 3), report(2))
    assert cpu.missing == 0


def test_a_cpu_of_which_every_event_is_lost_is_in_the_books():
    first, second = summary(forks(0), report(1, 4))
    assert (first.cpu, first.events, first.missing) == (0, 1, 0)
    assert (second.cpu, second.events, second.missing) == (1, 0, 4)


def test_a_cpu_that_never_had_an_event_is_not_in_the_books():
    assert [cpu.cpu for cpu in summary(forks(0), report(1, 0, 0))] == [0]


def test_what_came_before_the_reading_began_is_not_missing():
    assert [cpu.missing for cpu in summary(report(9, 9), from_start=False)] == [0, 0]


def test_each_cpu_has_its_own_numbers():
    first, second = summary(forks(0, 1), forks(0, 2, cpu=1))
    assert (first.missing, first.duplicates) == (0, 0)
    assert (second.missing, second.duplicates) == (1, 0)


def test_runs_of_one_host_and_hosts_of_one_topic_are_kept_apart():
    rerun = Origin(ORIGIN.host, ORIGIN.boot_id, FIRST + 2)
    other = Origin("other", ORIGIN.boot_id, FIRST)
    found = summary(forks(0, 1), forks(2, origin=rerun), forks(0, origin=other))
    assert [(s.origin, s.events, s.missing, s.duplicates) for s in found] == [
        (ORIGIN, 2, 0, 0),
        (rerun, 1, 0, 0),
        (other, 1, 0, 0),
    ]


def test_the_tasks_of_the_snapshot_have_numbers_of_their_own():
    running = batch(event("task", cpu=NO_CPU, seq=FIRST), event("task", cpu=NO_CPU, seq=FIRST + 2))
    found = summary(running, forks(0, 1))
    assert [(s.cpu, s.missing) for s in found] == [(0, 0), (NO_CPU, 1)]


# --- copies --------------------------------------------------------------------------------------


def test_a_copy_is_counted_and_is_no_event():
    (cpu,) = summary(forks(0, 1, 2), forks(1, 2, 3))
    assert (cpu.events, cpu.duplicates, cpu.missing) == (4, 2, 0)


def test_entering_a_batch_tells_which_of_its_records_are_copies():
    books = StreamBooks(from_start=True)
    assert books.add(forks(0, 1, 1)).tolist() == [True, True, False]
    mixed = batch(
        event("fork", cpu=1, seq=FIRST), event("fork", seq=FIRST + 1), event("fork", seq=FIRST + 2)
    )
    assert books.add(mixed).tolist() == [True, False, True]


def test_a_number_is_only_a_copy_on_its_own_cpu():
    assert [s.duplicates for s in summary(forks(0, 1), forks(0, 1, cpu=1))] == [0, 0]


# --- what explains a gap -------------------------------------------------------------------------


def test_a_loss_that_is_reported_explains_a_gap():
    (cpu,) = summary(forks(0, 1, 5), report(6, lost=2, dropped=1))
    assert (cpu.missing, cpu.unexplained) == (3, 0)
    assert (cpu.lost, cpu.dropped) == ({"fork_process": 2}, {"fork_process": 1})


def test_what_no_report_explains_is_unexplained():
    (cpu,) = summary(forks(0, 1, 5), report(6, lost=1))
    assert (cpu.missing, cpu.unexplained) == (3, 2)


def test_without_a_report_every_gap_is_unexplained():
    (cpu,) = summary(forks(0, 3))
    assert (cpu.missing, cpu.unexplained, cpu.reported) == (2, 2, False)


def test_the_latest_report_counts_in_whatever_order_they_come():
    early, late = report(4, lost=1, boot_ns=10), report(8, lost=3, boot_ns=20)
    for order in ((early, late), (late, early)):
        (cpu,) = summary(forks(0), *order)
        assert (cpu.missing, cpu.lost) == (7, {"fork_process": 3})


@pytest.mark.parametrize("from_start", [True, False])
def test_a_report_alone_explains_no_more_than_is_missing(from_start):
    """Losses from before the reading began are in the report, too."""
    for cpu in summary(forks(7, 8), report(9, lost=5), from_start=from_start):
        assert cpu.unexplained >= 0
