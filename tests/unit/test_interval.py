"""An interval says how long it was, what was lost in it, and whether that is all."""

from taskstream.interval import Interval
from taskstream.record import COUNTS

N = len(COUNTS)


def interval(**values: object) -> Interval:
    defaults = {"start_ns": 10, "end_ns": 20, "wall_ns": 0, "counts": (0,) * N}
    return Interval(**{**defaults, "received": (0,) * N, **values})  # type: ignore[arg-type]


def test_its_length_is_in_seconds():
    assert interval(start_ns=3_000_000_000, end_ns=5_500_000_000).seconds == 2.5


def test_a_count_is_found_by_its_name():
    counted = interval(counts=tuple(range(N)))
    assert [counted.count(c.name) for c in COUNTS] == list(range(N))


def test_what_was_counted_and_not_received_is_lost():
    counts, received = [9] * N, [9] * N
    received[2], received[5] = 4, 8
    assert interval(counts=tuple(counts), received=tuple(received)).lost() == 6


def test_it_is_exact_unless_the_kernel_skipped_a_program():
    assert interval().exact
    assert interval(missed={"on_fork": 0}).exact
    assert not interval(missed={"on_fork": 0, "on_exit": 1}).exact
