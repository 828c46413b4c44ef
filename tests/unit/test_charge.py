"""Charges are the same after their way through a message, in however many parts."""

import msgpack
import numpy as np
import pytest

from taskstream.charge import Charges, stand_ins
from taskstream.record import COUNTS, KINDS

N = len(COUNTS)


def charges(rows: int) -> Charges:
    """Make charges of processes that differ in everything."""
    rng = np.random.default_rng(rows)
    numbers = {
        name: rng.integers(0, 2**32 - 1, rows, np.uint32) for name in ("ppid", "uid", "tgid")
    }
    long = {
        name: rng.integers(0, 2**64 - 1, rows, np.uint64)
        for name in ("start_ns", "parent_start_ns", "cgroup_id")
    }
    kinds = rng.choice([KINDS[name] for name in ("fork", "exec", "exit")], rows)
    comms = np.array([bytes(rng.integers(1, 255, 15, np.uint8)) for _ in range(rows)], "S16")
    counts = rng.integers(1, 1000, (rows, N))
    return Charges(stand_ins(kind=kinds, comm=comms, **numbers, **long), counts, np.arange(N))


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_charges_come_back_from_a_message_as_they_were(rows):
    sent = msgpack.unpackb(msgpack.packb(charges(rows).to_map()))
    assert Charges.from_map(sent) == charges(rows)


def test_charges_that_differ_in_one_count_are_not_the_same():
    other = charges(3)
    other.counts[2, 1] += 1
    assert charges(3) != other


@pytest.mark.parametrize(("rows", "most"), [(0, 7), (1, 7), (6, 7), (7, 7), (8, 7), (21, 7)])
def test_the_parts_of_charges_are_the_whole_and_none_is_too_long(rows, most):
    whole = charges(rows)
    parts = list(whole.parts(most))
    assert len(parts) == max(1, -(-rows // most))
    assert all(len(part.events) <= most for part in parts)
    assert Charges.join(parts) == whole


def test_a_part_of_full_size_is_far_below_what_a_broker_takes():
    (part, *_) = charges(5000).parts()
    assert len(msgpack.packb(part.to_map())) < 500_000


def test_charges_of_nothing_are_false():
    assert not Charges(charges(0).events, np.zeros((0, N), np.int64), np.zeros(N, np.int64))
    assert charges(0)  # nobody's
    assert charges(1)
