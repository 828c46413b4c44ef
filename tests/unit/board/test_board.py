"""What a board keeps: the past of what there is, gaps where there was none, and no more."""

import pytest

from taskstream.board.board import HISTORY, Board
from tests.readings import SECOND, START_NS, rates, reading


def board(*readings) -> Board:
    made = Board()
    for one in readings:
        made.take(one)
    return made


def history(of: Board, name: str, view: str = "command") -> list[float | None]:
    """Return the processes per second of a group, interval by interval."""
    (found,) = (
        row.history for row in of.hosts["web-3"].rows(view, silent=False) if row.name == name
    )
    return [rates[0] if rates else None for rates in found]


def ls(number: int, processes: float, **values):
    return reading(number, command={"ls": rates(processes)}, **values)


def test_the_past_of_a_group_is_kept_in_order():
    assert history(board(ls(1, 10), ls(2, 20), ls(3, 30)), "ls") == [10, 20, 30]


def test_no_more_than_so_many_intervals_are_kept():
    found = history(board(*(ls(n, n) for n in range(1, HISTORY + 50))), "ls")
    assert found == list(range(50, HISTORY + 50))


def test_intervals_that_are_missing_are_a_gap_and_not_zero():
    assert history(board(ls(1, 10), ls(4, 40)), "ls") == [10, None, None, 40]


def test_a_long_silence_leaves_nothing_but_a_gap():
    found = history(board(ls(1, 10), ls(10**7, 40)), "ls")
    assert found == [None] * (HISTORY - 1) + [40]


def test_a_run_that_begins_within_an_interval_leaves_no_gap():
    short = ls(2, 1)
    assert history(board(ls(1, 10), short, ls(3, 30)), "ls") == [10, 1, 30]


def test_a_group_that_is_gone_takes_its_past_along():
    found = board(ls(1, 10), reading(2, command={}), ls(3, 30))
    assert history(found, "ls") == [30]


def test_a_reading_that_is_given_once_more_replaces_the_first():
    found = board(ls(1, 10), ls(2, 20), ls(2, 25))
    assert history(found, "ls") == [10, 25]
    full = board(*(ls(n, n) for n in range(1, HISTORY + 1)), ls(HISTORY, 7))
    assert history(full, "ls") == [*range(1, HISTORY), 7]


def test_a_reading_older_than_the_last_is_counted_and_not_shown():
    found = board(ls(2, 20), ls(1, 10))
    assert found.disordered == 1
    assert history(found, "ls") == [20]


def test_losses_are_summed_since_the_host_was_first_seen():
    lost = [reading(n, states={"ring": n, "skipped": 0, "dropped": 10}) for n in (1, 2, 3)]
    assert board(*lost).hosts["web-3"].lost == {"ring": 6, "skipped": 0, "dropped": 30}


def test_losses_of_a_reading_that_is_given_once_more_count_once():
    found = board(
        reading(1, states={"ring": 5}),
        reading(2, states={}),
        reading(2, states={"ring": 7}),
        reading(3, states={}),
    )
    assert found.hosts["web-3"].lost == {"ring": 12}


def test_losses_that_nobody_told_of_are_not_zero():
    assert board(reading(1)).hosts["web-3"].lost == {}


def test_hosts_are_kept_apart():
    found = board(ls(1, 10), ls(1, 99, host="db-1"), ls(2, 20))
    assert set(found.hosts) == {"web-3", "db-1"}
    assert history(found, "ls") == [10, 20]


@pytest.mark.parametrize(("length_s", "patience_s"), [(1, 8), (10, 35)])
def test_a_host_is_silent_when_some_intervals_are_overdue(length_s, patience_s):
    host = board(reading(1, length_s=length_s)).hosts["web-3"]
    end_ns = START_NS + length_s * SECOND
    assert host.silent_s(end_ns + patience_s * SECOND) == 0
    assert host.silent_s(end_ns + (patience_s + 1) * SECOND) == patience_s + 1


def test_a_silent_host_has_no_groups_and_no_rates():
    host = board(ls(1, 10)).hosts["web-3"]
    assert list(host.rows("command", silent=True)) == []
    (row,) = host.rows("system", silent=True)
    assert set(row.rates) == {None}


def test_a_copy_stays_as_it_was():
    first = board(ls(1, 10))
    kept = first.copy()
    first.take(ls(2, 20))
    first.take(ls(1, 5, host="db-1"))
    assert history(kept, "ls") == [10]
    assert set(kept.hosts) == {"web-3"}
