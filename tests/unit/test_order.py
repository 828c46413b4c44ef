"""A stream comes back into the agent's order, whatever a topic did to it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from taskstream.batch import Batch
from taskstream.order import StreamOrder
from taskstream.record import NO_CPU
from taskstream.report import CpuReport, Report
from tests.capturing import report
from tests.synthetic import ORIGIN, batch, event, labelled, lives

Stream = list[Batch | Report]
NONE = (0,) * 8


def told(number: int, *read: int, dropped: int = 0, final: bool = False) -> Report:
    """Make a report; so many events of each CPU were read before it."""
    cpus = tuple(
        CpuReport(cpu, ORIGIN.run_ns, NONE, NONE, (dropped, *NONE[1:]), 0, n, ORIGIN.run_ns + n)
        for cpu, n in enumerate(read)
    )
    return replace(report(number, final=final), cpus=cpus, number=number)


def events(stream: Stream) -> list[list[int]]:
    """Return the seq of the events before each report, and behind the last."""
    found: list[list[int]] = [[]]
    for one in stream:
        if isinstance(one, Report):
            found.append([])
        else:
            found[-1] += (one.records["seq"] - np.uint64(ORIGIN.run_ns)).tolist()
    return found


WHOLE = lives(5)  # 20 events, 10 of each CPU
FIRST, SECOND = told(0, 4, 3), told(1, 10, 10)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_events_come_before_the_report_that_tells_of_them_in_whatever_order_all_come(order):
    parts = [WHOLE.part(np.arange(n, 20, 3)) for n in order]
    stream = StreamOrder()
    stream.report(SECOND, 0)
    stream.add(parts[0])
    stream.report(FIRST, 0)
    stream.add(parts[1])
    assert list(stream.take(-1)) == []
    stream.add(parts[2])
    given = list(stream.take(-1))
    assert [one for one in given if isinstance(one, Report)] == [FIRST, SECOND]
    before, between, behind = events(given)
    assert sorted(before) == [0, 0, 1, 1, 2, 2, 3]
    assert len(between) == 13
    assert behind == []
    for one in given:
        if isinstance(one, Batch):
            assert one.records["boot_ns"].tolist() == sorted(one.records["boot_ns"].tolist())


def test_labels_stay_with_their_events():
    stream = StreamOrder()
    whole = labelled(WHOLE)
    for rows in (slice(10, None), slice(10)):
        stream.add(whole.part(rows))
    stream.report(told(0, 10, 10), 0)
    (given, _) = stream.take(-1)
    assert isinstance(given, Batch)
    assert given.labels is not None
    assert whole.labels is not None
    assert given.labels.column("app_group") == whole.labels.column("app_group")


def test_a_report_waits_for_missing_events_until_it_is_due_and_the_next_one_does_not():
    stream = StreamOrder()
    stream.add(WHOLE.part(np.flatnonzero(WHOLE.records["seq"] != ORIGIN.run_ns + 2)))
    stream.report(FIRST, now_ns=100)
    assert list(stream.take(before_ns=100)) == []
    assert FIRST in list(stream.take(before_ns=101))
    stream.report(SECOND, now_ns=102)
    assert SECOND in list(stream.take(before_ns=101))


def test_what_the_agent_dropped_is_not_waited_for():
    stream = StreamOrder()
    stream.add(WHOLE.part(np.flatnonzero(WHOLE.records["seq"] != ORIGIN.run_ns + 2)))
    stream.report(told(0, 10, 10, dropped=1), now_ns=0)
    assert len(list(stream.take(-1))) == 2


def test_an_event_that_comes_behind_its_report_is_counted_and_given_before_the_next():
    stream = StreamOrder()
    stream.add(WHOLE.part(slice(1, None)))
    stream.report(FIRST, 0)
    first = list(stream.take(1))
    stream.add(WHOLE.part(slice(1)))
    stream.report(SECOND, 0)
    assert stream.late == 1
    found = events(first + list(stream.take(-1)))
    assert [len(part) for part in found] == [6, 14, 0]


def test_copies_of_a_report_are_one():
    stream = StreamOrder()
    stream.add(WHOLE)
    for _ in range(2):
        stream.report(FIRST, 0)
        stream.report(SECOND, 0)
    given = list(stream.take(-1))
    stream.report(FIRST, 0)
    given += stream.take(None)
    assert [one for one in given if isinstance(one, Report)] == [FIRST, SECOND]


def test_the_snapshot_comes_before_the_first_report():
    stream = StreamOrder()
    stream.add(WHOLE)
    stream.add(batch(event("task", cpu=NO_CPU), event("task", cpu=NO_CPU)))
    stream.report(told(0, 1, 1), 0)
    first = next(stream.take(-1))
    assert isinstance(first, Batch)
    assert (first.records["cpu"] == NO_CPU).sum() == 2


def test_reports_of_an_older_agent_have_the_events_of_their_interval():
    records = WHOLE.records.copy()
    records["boot_ns"] = ORIGIN.run_ns + np.arange(20) * 10**8  # two seconds
    stream = StreamOrder()
    stream.add(replace(WHOLE, records=records))
    stream.report(report(0), 0)
    stream.report(report(1, final=True), 0)
    assert list(stream.take(-1)) == []
    assert [len(part) for part in events(list(stream.take(None)))] == [10, 10, 0]


def test_at_the_end_what_no_report_tells_of_is_given_too():
    stream = StreamOrder()
    stream.add(WHOLE)
    stream.report(FIRST, 0)
    assert [len(part) for part in events(list(stream.take(None)))] == [7, 13]
