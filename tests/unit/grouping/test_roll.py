"""Counters only rise, names are bounded, and what finds no room is counted all the same."""

import msgpack
import numpy as np
import pytest

from taskstream.grouping.roll import QUIET_INTERVALS, Roll
from taskstream.interval import COLUMNS, Series


def counts(**forks: int) -> dict[str, np.ndarray]:
    return {name: np.array([n, *[0] * (len(COLUMNS) - 1)]) for name, n in forks.items()}


def forks(closed: dict[str, Series]) -> dict[str, tuple[int, int]]:
    """Return the forks of the interval and of all, by group."""
    return {
        name: (series.count("fork_process"), series.sum("fork_process"))
        for name, series in closed.items()
    }


def test_an_interval_has_its_own_counts_and_the_sum_of_all():
    roll = Roll(10)
    assert forks(roll.close(counts(a=3, b=1))) == {"a": (3, 3), "b": (1, 1)}
    assert forks(roll.close(counts(a=2))) == {"a": (2, 5), "b": (0, 1)}


def test_a_group_that_is_quiet_keeps_its_counts():
    roll = Roll(10)
    roll.close(counts(a=3))
    for _ in range(QUIET_INTERVALS * 3):
        assert forks(roll.close({})) == {"a": (0, 3)}


def test_what_finds_no_room_is_counted_in_other():
    roll = Roll(2)
    closed = roll.close(counts(a=5, b=1, c=3, d=2))
    assert forks(closed) == {"a": (5, 5), "c": (3, 3), "other": (3, 3)}
    assert roll.overflow == 2


def test_a_group_called_other_needs_no_room():
    roll = Roll(1)
    assert forks(roll.close(counts(other=4, a=2, b=1))) == {"a": (2, 2), "other": (5, 5)}
    assert roll.overflow == 1


@pytest.mark.parametrize(
    ("quiet", "charted"),
    [(QUIET_INTERVALS - 1, {"a", "b", "other"}), (QUIET_INTERVALS, {"b", "c"})],
)
def test_a_group_that_was_quiet_for_long_makes_room(quiet, charted):
    roll = Roll(2)
    roll.close(counts(a=1, b=1))
    for _ in range(quiet):
        roll.close(counts(b=1))
    assert set(roll.close(counts(b=1, c=1))) == charted


def test_a_group_that_was_busy_lately_makes_no_room():
    roll = Roll(1)
    for _ in range(QUIET_INTERVALS * 3):
        closed = roll.close(counts(a=1, b=9))
    assert set(closed) == {"b", "other"}
    assert forks(closed)["b"][1] == 9 * QUIET_INTERVALS * 3


def test_no_event_is_counted_twice_or_not_at_all_whoever_finds_room():
    random = np.random.default_rng(5)
    roll, total = Roll(7), 0
    for _ in range(300):
        names = {f"g{n}": int(random.integers(1, 9)) for n in random.integers(0, 60, 12)}
        closed = forks(roll.close(counts(**names)))
        assert sum(window for window, _ in closed.values()) == sum(names.values())
        assert len(closed) <= 8
        total += sum(names.values())
    assert total


def test_many_new_groups_without_room_cost_one_look_for_room():
    """Each would else look through all that are charted: a second per interval, of 20,000 names."""
    looks = 0

    class Counting(dict[str, int]):
        def __iter__(self):  # a look goes through all of them
            nonlocal looks
            looks += 1
            return super().__iter__()

    roll = Roll(10)
    roll._counted = Counting()
    one = np.ones(len(COLUMNS), np.int64)
    closed = roll.close({f"group-{n}": one for n in range(500)})
    assert roll.overflow == 490
    assert closed["other"].window == (490,) * len(COLUMNS)
    assert looks == 1


def test_one_that_is_handed_over_goes_on_as_the_first_would():
    first, second = Roll(2), Roll(2)
    for given in (counts(a=5, b=1, c=3, d=2), counts(b=4), *[{}] * QUIET_INTERVALS):
        first.close(given)
    second.restore(msgpack.unpackb(msgpack.packb(first.to_map())))
    for given in (counts(a=1, e=2), counts(e=1), {}):
        assert second.close(given) == first.close(given)
        assert second.overflow == first.overflow
