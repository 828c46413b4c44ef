"""Intervals are closed whatever an agent leaves out, and nothing open grows without end."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from taskstream.cells import SECOND_NS
from taskstream.closing import OPEN_S, PART_S, Closing
from taskstream.grouping.tally import Choice
from taskstream.interval import COLUMNS, Interval
from taskstream.partial import Partial
from taskstream.report import Report
from tests.agent_run import HOST

FIRST_S = 600_000
"""A multiple of a minute."""


def partial(*seconds: int, reports: tuple[Report, ...] = (), read_ms: int = 5) -> Partial:
    """Return one fork of one command in each of some seconds."""
    counts = np.zeros(len(COLUMNS), np.int64)
    counts[0] = 1
    cells = {second: {"host": {"": counts}, "command": {"sh": counts}} for second in seconds}
    return Partial(HOST, read_ms, 0, cells, reports=list(reports))


def report(first: int, last: int, events: int, *, final: bool = False) -> Report:
    """Return the report of an interval that holds some seconds."""
    counts = (events, *[0] * (len(COLUMNS) - 2))
    end_ns = (last + 1) * SECOND_NS
    interval = Interval(
        start_ns=first * SECOND_NS, end_ns=end_ns, wall_ns=end_ns, counts=counts, received=counts
    )
    return Report(HOST, end_ns, 0, (), interval=interval, final=final)


def closing(window_ns: int = 0) -> Closing:
    return Closing(HOST, Choice(commands=True), window_ns)


def commands(told: list[Interval]) -> int:
    return sum(interval.groups["command"]["sh"].window[0] for interval in told)


def test_seconds_that_no_report_tells_of_are_told_by_the_minute_and_never_more_than_some_wait():
    run, told, most = closing(), [], 0
    for second in range(FIRST_S, FIRST_S + 3 * OPEN_S):
        run.add(partial(second))
        told += run.close(0)
        most = max(most, len(run._cells))
    assert most <= OPEN_S + PART_S
    assert {interval.end_ns - interval.start_ns for interval in told} == {PART_S * SECOND_NS}
    assert not any(interval.exact for interval in told)
    assert sum(interval.counts[0] for interval in told) == commands(told)
    assert commands(told) + len(run._cells) == 3 * OPEN_S


def test_an_agents_longest_interval_is_waited_for():
    run = closing()
    run.add(partial(*range(FIRST_S, FIRST_S + 3600)))
    assert not list(run.close(0))
    run.add(partial(reports=(report(FIRST_S, FIRST_S + 3599, 3600),)))
    (told,) = run.close(0)
    assert told.exact
    assert commands([told]) == 3600


def test_an_interval_that_lacks_an_event_is_not_waited_for_when_others_are_hours_ahead():
    run = closing()
    run.add(partial(FIRST_S, reports=(report(FIRST_S, FIRST_S + 4, 2),)))
    assert not list(run.close(0))
    run.add(partial(FIRST_S + OPEN_S + 5))
    (told,) = run.close(0)
    assert told.unseen == run.missing == 1


@pytest.mark.parametrize("window_ns", [0, 3600 * SECOND_NS])
@pytest.mark.parametrize("reported", [True, False])
def test_nothing_is_old_while_another_partition_is_behind(reported, window_ns):
    run = closing(window_ns)
    reports = (report(FIRST_S, FIRST_S + 4, 2),) if reported else ()
    run.add(partial(FIRST_S, reports=reports))
    run.add(partial(FIRST_S + 3 * OPEN_S))
    assert not list(run.close(0, behind=True))
    assert list(run.close(0))


def test_a_window_whose_end_no_report_tells_of_is_told_in_the_end():
    run = closing(3600 * SECOND_NS)
    run.add(partial(FIRST_S, reports=(report(FIRST_S, FIRST_S + 4, 1),)))
    run.add(partial(FIRST_S + 10))
    assert not list(run.close(0))
    run.add(partial(FIRST_S + 2 * OPEN_S))
    told = list(run.close(0))
    assert [interval.counts[0] for interval in told] == [1, 1]


def states(run: Closing) -> Iterator[tuple[str, int]]:
    for part, state in run.to_maps().items():
        yield part, len(state["cells"]) if state else 0


def test_old_seconds_are_written_once_and_again_only_where_something_came_to_them():
    run = closing()
    run.add(partial(*range(FIRST_S, FIRST_S + 600)))
    assert sum(cells for _, cells in states(run)) == 600
    assert dict(states(run)) == {"open": 120}
    run.add(partial(FIRST_S + 5))
    old = f"part-{FIRST_S // PART_S}"
    assert dict(states(run)) == {"open": 120, old: 60}
    run.add(partial(reports=(report(FIRST_S, FIRST_S + 59, 61),)))
    assert len(list(run.close(0))) == 1
    assert run.to_maps()[old] is None


@pytest.mark.parametrize("seed", range(5))
def test_what_is_open_is_taken_back_whole_whatever_was_written_when(seed):
    random = np.random.default_rng(seed)
    run, kept, told, told_again = closing(), {}, [], []
    again = closing()
    for _ in range(60):
        first = FIRST_S + int(random.integers(OPEN_S * 2))
        run.add(partial(*range(first, first + int(random.integers(200)))))
        told += run.close(0)
        kept |= run.to_maps()
        kept = {part: state for part, state in kept.items() if state is not None}
        kept["closed"] = run.closed_to_map()
        again = closing()
        again.restore(kept)
        assert again._cells.keys() == run._cells.keys()
    told += run.leave(10)
    told_again += again.leave(10)
    assert replace(told[-1], groups={}) == replace(told_again[-1], groups={})
    assert commands(told) == sum(interval.counts[0] for interval in told)


def test_what_comes_behind_the_last_report_is_told_when_the_run_is_silent():
    run = closing()
    run.add(partial(FIRST_S, reports=(report(FIRST_S, FIRST_S + 4, 1, final=True),)))
    assert len(list(run.close(0))) == 1
    run.add(partial(FIRST_S + 1, FIRST_S + 2, read_ms=50))
    assert not list(run.leave(49))
    (told,) = run.leave(50)
    assert commands([told]) == run.late == 2
    assert sum(told.counts) == 0  # the kernel's counters had them in their interval
    assert told.start_ns == (FIRST_S + 5) * SECOND_NS
    assert not list(run.leave(1 << 62))
