"""The charts are what a hand computes from the counts, and the counts what is in the records."""

import numpy as np
import pytest

from taskstream.interval import Interval
from taskstream.rates import CHARTS, WindowCounts, charts, count_column
from taskstream.record import CALLS, COUNTS, KINDS
from tests.synthetic import batch, bits, event, lives

NAMES = [count.name for count in COUNTS]
SECOND = 10**9
NONE = (0,) * len(COUNTS)


def interval(
    *, start_ns: int = 0, end_ns: int = 5 * SECOND, watched: bool = True, **counts: int
) -> Interval:
    return Interval(
        start_ns=start_ns,
        end_ns=end_ns,
        wall_ns=end_ns,
        counts=tuple(counts.get(name, 0) for name in NAMES),
        received=NONE,
        failures_watched=watched,
    )


def named(counts: np.ndarray) -> dict[str, int]:
    """Return the counts that are not zero, by name."""
    return {name: int(n) for name, n in zip(NAMES, counts, strict=True) if n}


# --- charts --------------------------------------------------------------------------------------


def test_the_charts_of_a_whole_interval_are_those_computed_by_hand():
    drawn = charts(
        interval(
            fork_process=50,
            fork_thread=20,
            exec=999,
            exit_process=45,
            exit_thread=15,
            free=58,
            fail_create=10,
            fail_exec=888,
        )
    )
    assert drawn == {
        "system.process_thread": {"process": 10.0, "thread": 4.0},
        "system.process_status": {"process": 5.0, "zombie": 2.0},
        "system.exit": {"process": 12.0, "task": 11.6},
        "system.task_error": {"task": 2.0},
    }


def test_a_partial_interval_is_divided_by_its_own_length():
    drawn = charts(
        interval(start_ns=10 * SECOND, end_ns=10 * SECOND + SECOND // 4, fork_process=3, free=1)
    )
    assert drawn["system.process_thread"] == {"process": 12.0, "thread": 0.0}
    assert drawn["system.exit"] == {"process": 0.0, "task": 4.0}


def test_a_difference_is_not_divided_by_the_length():
    for end_ns in (SECOND, 60 * SECOND):
        drawn = charts(interval(end_ns=end_ns, fork_process=7, exit_process=9, free=4))
        assert drawn["system.process_status"] == {"process": -2.0, "zombie": 5.0}


def test_an_interval_without_length_divides_by_nothing():
    assert charts(interval(end_ns=0, fork_process=1))["system.process_thread"]["process"] == 0


def test_a_chart_of_calls_that_were_not_watched_is_absent_not_zero():
    assert "system.task_error" not in charts(interval(watched=False))
    assert charts(interval(watched=True))["system.task_error"] == {"task": 0.0}


def test_an_exec_is_no_process():
    assert charts(interval(exec=100)) == charts(interval())


def test_what_is_drawn_are_the_documented_charts_with_their_dimensions():
    documented = {chart.context: set(chart.names) for chart in CHARTS}
    assert {context: set(values) for context, values in charts(interval()).items()} == documented


# --- which count an event belongs to -------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "count"),
    [
        ("fork", {}, "fork_process"),
        ("fork", {"flags": bits("thread")}, "fork_thread"),
        ("fork", {"flags": bits("thread", "io_worker", "agent")}, "fork_thread"),
        ("fork", {"flags": bits("kernel_thread")}, "fork_process"),
        ("exec", {}, "exec"),
        ("exit", {}, "exit_thread"),
        ("exit", {"flags": bits("group_dead")}, "exit_process"),
        ("exit", {"flags": bits("thread", "group_dead")}, "exit_process"),
        ("free", {"flags": bits("thread")}, "free"),
        *(("fail", {"call": CALLS[c]}, "fail_create") for c in ("fork", "vfork", "clone")),
        ("fail", {"call": CALLS["clone3"]}, "fail_create"),
        ("fail", {"call": CALLS["execve"]}, "fail_exec"),
        ("fail", {"call": CALLS["execveat"]}, "fail_exec"),
    ],
)
def test_an_event_counts_once_under_its_name(kind, values, count):
    (column,) = count_column(batch(event(kind, **values)).records).tolist()
    assert NAMES[column] == count


@pytest.mark.parametrize("flags", [0, bits("thread"), bits("group_dead"), 2**32 - 1])
def test_a_task_of_the_snapshot_is_never_counted(flags):
    running = batch(event("task", flags=flags)).records
    assert count_column(running).tolist() == [-1]
    counts = WindowCounts(SECOND)
    counts.add(running)
    assert counts.windows() == []
    assert not counts.total.any()


# --- windows -------------------------------------------------------------------------------------


def test_a_window_begins_at_a_multiple_of_its_length_and_ends_before_the_next():
    counts = WindowCounts(SECOND)
    times = (0, 1, SECOND - 1, SECOND, 2 * SECOND - 1, 2 * SECOND, 7 * SECOND)
    counts.add(batch(*(event("fork", boot_ns=t) for t in times)).records)
    taken = {window: named(counts.take(window)) for window in counts.windows()}
    assert {w: c["fork_process"] for w, c in taken.items()} == {0: 3, 1: 2, 2: 1, 7: 1}


def test_a_window_holds_each_count_on_its_own():
    counts = WindowCounts(SECOND)
    counts.add(
        batch(
            event("fork", boot_ns=5),
            event("task", boot_ns=5),
            event("exit", boot_ns=6, flags=bits("group_dead")),
            event("exec", boot_ns=7),
            event("exec", boot_ns=8),
        ).records
    )
    assert named(counts.take(0)) == {"fork_process": 1, "exit_process": 1, "exec": 2}


def test_only_windows_with_events_are_kept_however_far_apart():
    counts = WindowCounts(SECOND)
    counts.add(batch(event("fork", boot_ns=0), event("fork", boot_ns=3600 * SECOND)).records)
    assert counts.windows() == [0, 3600]


def test_a_window_that_was_taken_counts_anew():
    counts = WindowCounts(SECOND)
    fork = batch(event("fork", boot_ns=5)).records
    counts.add(fork)
    assert named(counts.take(0)) == {"fork_process": 1}
    assert named(counts.take(0)) == {}
    counts.add(fork)
    assert named(counts.take(0)) == {"fork_process": 1}


def test_what_was_taken_stays_in_the_total():
    counts = WindowCounts(SECOND)
    whole = lives(25)
    counts.add(whole.records)
    for window in counts.windows():
        counts.take(window)
    assert named(counts.total) == {"fork_process": 25, "exec": 25, "exit_process": 25, "free": 25}


def test_no_records_are_counted_as_none():
    counts = WindowCounts(SECOND)
    counts.add(batch().records)
    assert counts.windows() == []


def test_the_order_of_events_does_not_matter():
    forward, backward = WindowCounts(SECOND // 50), WindowCounts(SECOND // 50)
    records = lives(25).records
    forward.add(records)
    backward.add(records[::-1])
    assert forward.windows() == backward.windows()
    for window in forward.windows():
        assert named(forward.take(window)) == named(backward.take(window))


def test_every_kind_is_counted_or_is_a_task():
    for kind in KINDS:
        (column,) = count_column(batch(event(kind)).records).tolist()
        assert column == -1 if kind == "task" else COUNTS[column].kind == kind
