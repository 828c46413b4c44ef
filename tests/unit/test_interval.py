"""An interval says how long it was, what was lost in it, and whether that is all."""

from dataclasses import replace

from taskstream.interval import Agent, Interval, Series
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


def test_intervals_that_follow_one_another_join_to_one_with_the_groups_of_the_last():
    groups = [{"app": {"web": Series((n,), (n * 10,))}} for n in (1, 2)]
    costs = [
        Agent(cpu_ns=cpu_ns, resident_bytes=0, queued=0, dropped=0, forgotten=0)
        for cpu_ns in (5, 8, 13)
    ]
    first = interval(
        counts=(3,) * N, received=(2,) * N, missed={"on_fork": 1}, groups=groups[0],
        cgroups=((7, "/a", "a"),), unseen=1, agent=replace(costs[1], before=costs[0]),
    )  # fmt: skip
    last = interval(
        start_ns=20, end_ns=35, wall_ns=99, counts=(4,) * N, received=(4,) * N,
        missed={"on_fork": 1, "on_exit": 2}, groups=groups[1], cgroups=((8, "/b", "b"),), unseen=2,
        failures_watched=False, release_late=True, agent=replace(costs[2], before=costs[1]),
    )  # fmt: skip
    joined = Interval.join([first, last])
    assert (joined.start_ns, joined.end_ns, joined.wall_ns) == (10, 35, 99)
    assert (joined.counts, joined.received, joined.unseen) == ((7,) * N, (6,) * N, 3)
    assert joined.missed == {"on_fork": 2, "on_exit": 2}
    assert joined.groups == groups[1]
    assert joined.cgroups == ((7, "/a", "a"), (8, "/b", "b"))
    assert (joined.failures_watched, joined.release_late) == (False, True)
    assert joined.agent is not None
    assert joined.agent.since("cpu_ns") == 8
    assert Interval.join([first]) is first
