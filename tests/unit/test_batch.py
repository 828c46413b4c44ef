"""The currency: whole records are moved, never their fields."""

import numpy as np
import pytest

from taskstream.batch import Batch, in_time_order, join_records, take
from taskstream.record import KINDS, RECORD
from tests.synthetic import ORIGIN, batch, each_kind, event, lives


def random_records(count: int) -> np.ndarray:
    """Return records of which every byte is random, also those that no field names."""
    octets = np.random.default_rng(7).integers(0, 256, count * RECORD.itemsize, np.uint8)
    return octets.view(RECORD)


def test_joining_keeps_every_byte():
    records = random_records(5)
    joined = join_records([records[:2], records[2:2], records[2:]])
    assert joined.dtype == RECORD
    assert joined.tobytes() == records.tobytes()


def test_joining_nothing_is_no_records():
    assert join_records([]).dtype == RECORD
    assert len(join_records([])) == 0


def test_taking_keeps_every_byte_and_is_a_copy():
    records = random_records(4)
    taken = take(records, np.array([3, 1]))
    assert taken.tobytes() == records[3:].tobytes() + records[1:2].tobytes()
    assert not np.shares_memory(taken, records)


def test_of_kind_chooses_that_kind():
    whole = lives(3)
    assert {kind: len(whole.of_kind(kind)) for kind in KINDS} == {
        "fork": 3, "exec": 3, "exit": 3, "free": 3, "fail": 0, "task": 0
    }  # fmt: skip


def test_time_order_is_boot_time_then_cpu_then_number():
    mixed = batch(
        event("fork", boot_ns=20, cpu=0, seq=1, pid=4),
        event("fork", boot_ns=10, cpu=1, seq=1, pid=3),
        event("fork", boot_ns=10, cpu=0, seq=7, pid=2),
        event("fork", boot_ns=10, cpu=0, seq=5, pid=1),
    )
    assert in_time_order(mixed.records)["pid"].tolist() == [1, 2, 3, 4]


def test_a_batch_has_as_many_events_as_records():
    assert len(each_kind()) == len(KINDS)
    assert len(batch()) == 0


def test_a_batch_of_anything_but_records_is_refused():
    with pytest.raises(AssertionError):
        Batch(ORIGIN, np.zeros(3, np.uint64), 0)
