"""Batches of several CPUs come out in the order of time, and nothing stays behind."""

import numpy as np
import pytest

from taskstream.merge import TimeMerge
from taskstream.record import RECORD
from tests.synthetic import batch, event

HOLD_NS = 100


def records(*rows):
    """Make records from (boot_ns, cpu, seq)."""
    return batch(*(event("fork", boot_ns=t, cpu=cpu, seq=seq) for t, cpu, seq in rows)).records


def rows(found):
    return list(zip(*(found[name].tolist() for name in ("boot_ns", "cpu", "seq")), strict=True))


def test_what_is_older_than_the_hold_comes_out_and_the_rest_waits():
    merge = TimeMerge(HOLD_NS)
    out = merge.merge(records((1000, 0, 1), (1100, 0, 2), (1101, 0, 3)), 1200)
    assert rows(out) == [(1000, 0, 1), (1100, 0, 2)]
    assert rows(merge.merge(records(), 1201)) == [(1101, 0, 3)]


def test_what_came_cpu_by_cpu_comes_out_by_time():
    merge = TimeMerge(HOLD_NS)
    out = merge.merge(records((10, 0, 1), (30, 0, 2), (20, 1, 1), (40, 1, 2)), 1000)
    assert rows(out) == [(10, 0, 1), (20, 1, 1), (30, 0, 2), (40, 1, 2)]


def test_a_record_that_comes_within_the_hold_is_put_before_later_ones():
    merge = TimeMerge(HOLD_NS)
    assert not len(merge.merge(records((1000, 0, 1)), 1050))
    assert rows(merge.merge(records((990, 1, 1)), 1150)) == [(990, 1, 1), (1000, 0, 1)]
    assert merge.late == 0


def test_a_record_that_comes_too_late_comes_out_all_the_same_and_is_counted():
    merge = TimeMerge(HOLD_NS)
    merge.merge(records((1000, 0, 1)), 2000)
    assert rows(merge.merge(records((999, 1, 1), (1500, 1, 2)), 2100)) == [
        (999, 1, 1),
        (1500, 1, 2),
    ]
    assert merge.late == 1


@pytest.mark.parametrize("boot_ns", [1000, 1001])
def test_a_record_as_old_as_the_last_one_or_younger_is_not_late(boot_ns):
    merge = TimeMerge(HOLD_NS)
    merge.merge(records((1000, 1, 1)), 2000)
    merge.merge(records((boot_ns, 0, 1)), 2100)
    assert merge.late == 0


def test_a_flush_gives_what_is_held_and_what_comes_before_it_later_is_late():
    merge = TimeMerge(HOLD_NS)
    merge.merge(records((2000, 0, 1), (1990, 1, 1)), 2001)
    assert rows(merge.flush()) == [(1990, 1, 1), (2000, 0, 1)]
    assert not len(merge.flush())
    merge.merge(records((1995, 1, 2)), 2002)
    assert merge.late == 1


def test_a_clock_younger_than_the_hold_lets_nothing_out():
    merge = TimeMerge(HOLD_NS)
    assert not len(merge.merge(records((5, 0, 1)), 50))
    assert rows(merge.flush()) == [(5, 0, 1)]


def test_whole_records_come_out_also_the_bytes_that_no_field_names():
    octets = np.random.default_rng(7).integers(0, 256, 5 * RECORD.itemsize, np.uint8)
    before = octets.view(RECORD)
    before["boot_ns"] = range(5)
    merge = TimeMerge(HOLD_NS)
    out = merge.merge(before[3:], 102).tobytes() + merge.merge(before[:3], 102).tobytes()
    out += merge.flush().tobytes()
    assert sorted(out[i : i + RECORD.itemsize] for i in range(0, len(out), RECORD.itemsize)) == (
        sorted(record.tobytes() for record in before)
    )


def test_what_came_out_is_no_view_of_what_went_in():
    before = records((1, 0, 1))
    assert not np.shares_memory(TimeMerge(HOLD_NS).merge(before, 1000), before)
