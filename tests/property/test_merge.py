"""However records are cut into reads, each comes out once, and its order is told."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from taskstream.batch import in_time_order, join_records, take
from taskstream.merge import TimeMerge
from taskstream.record import RECORD

HOLD_NS = 50

_events = st.lists(
    st.tuples(st.integers(1000, 1400), st.integers(0, 3), st.integers(0, 2 * HOLD_NS)), max_size=40
)
"""When, on which CPU, and how long until it can be read."""


def records(events: list[tuple[int, int, int]]) -> np.ndarray:
    """Make records with a number each."""
    made = np.zeros(len(events), RECORD)
    for number, (boot_ns, cpu, _) in enumerate(events):
        made["boot_ns"][number], made["cpu"][number], made["seq"][number] = boot_ns, cpu, number
    return made


def numbers(parts: list[np.ndarray]) -> list[int]:
    """Return which records came out, in order."""
    return join_records(parts)["seq"].tolist()


@given(_events, st.lists(st.tuples(st.integers(0, 9), st.integers(900, 1700)), max_size=8))
def test_whatever_is_read_when_each_record_comes_out_once_and_each_late_one_is_counted(
    events: list[tuple[int, int, int]], reads: list[tuple[int, int]]
) -> None:
    whole = records(events)
    merge, out, at = TimeMerge(HOLD_NS), [], 0
    for size, read_ns in reads:  # the reader's clock may even go back
        out.append(merge.merge(whole[at : at + size], read_ns))
        at = min(at + size, len(whole))
    out.append(merge.merge(whole[at:], 0))
    out.append(merge.flush())
    assert sorted(numbers(out)) == list(range(len(events)))
    behind, last = 0, 0
    for part in out:
        assert numbers([part]) == numbers([in_time_order(part)])
        behind += int((part["boot_ns"] < last).sum())
        last = max([last, *part["boot_ns"].tolist()])
    assert merge.late == behind


@given(_events, st.lists(st.tuples(st.integers(1, 90), st.integers(0, 30)), min_size=1))
def test_where_no_record_takes_longer_than_the_hold_all_come_out_in_the_order_of_time(
    events: list[tuple[int, int, int]], reads: list[tuple[int, int]]
) -> None:
    events = [(boot_ns, cpu, min(delay, HOLD_NS)) for boot_ns, cpu, delay in events]
    whole = records(events)
    there_ns = np.array([boot_ns + delay for boot_ns, _, delay in events], np.int64)
    merge, out, taken_ns, read_ns = TimeMerge(HOLD_NS), [], 0, 1000
    for passed, lasted in reads:
        read_ns = max(read_ns + passed, taken_ns)  # one read after the other
        rows = np.flatnonzero((taken_ns < there_ns) & (there_ns <= read_ns + lasted))
        taken_ns = read_ns + lasted
        out.append(merge.merge(take(whole, rows), read_ns))
        assert all(out[-1]["boot_ns"] <= read_ns - HOLD_NS)
    out.append(merge.merge(take(whole, np.flatnonzero(there_ns > taken_ns)), 5000))
    assert numbers(out) == in_time_order(whole)["seq"].tolist()
    assert merge.late == 0
    assert not len(merge.flush())
