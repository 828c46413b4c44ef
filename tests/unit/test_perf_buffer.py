"""What the kernel writes into a perf buffer, record by record, and what is read out of it."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskstream.record import RECORD
from taskstream.source.perf_buffer import fixed_records, samples

SAMPLE, LOST, THROTTLE = 9, 2, 5
BYTES = RECORD.itemsize


def sample(data):
    """Lay out a sample as perf_output_sample does: its length has the filling in it."""
    length = (len(data) + 4 + 7 & ~7) - 4
    filling = b"\xaa" * (length - len(data))
    return struct.pack("=IHHI", SAMPLE, 0, 12 + length, length) + data + filling


def lost(number):
    return struct.pack("=IHHQQ", LOST, 0, 24, 77, number)


def other():
    return struct.pack("=IHHQQQ", THROTTLE, 0, 32, 1, 2, 3)


def record(seed):
    return np.random.default_rng(seed).integers(0, 256, BYTES, np.uint8).tobytes()


def contents(region):
    """Return the samples, with their filling, and the number of those that are lost."""
    places, number, invalid = samples(region)
    assert invalid == 0
    return [region[at : at + length] for at, length in places], number


def test_records_that_all_have_one_size_are_read_at_once():
    written = [record(i) for i in range(5)]
    rows, number, _ = fixed_records(b"".join(map(sample, written)), BYTES)
    assert [row.tobytes() for row in rows] == written
    assert number == 0


@pytest.mark.parametrize("at", range(4))
def test_a_loss_between_records_is_counted_and_shifts_none(at):
    written = [record(i) for i in range(3)]
    parts = [sample(data) for data in written]
    parts.insert(at, lost(41))
    parts.append(lost(2))
    rows, number, _ = fixed_records(b"".join(parts), BYTES)
    assert [row.tobytes() for row in rows] == written
    assert number == 43


def test_losses_that_are_as_long_as_records_are_no_records():
    stride = len(sample(record(0)))
    region = lost(3) * (stride // 8)  # 24 bytes each: three strides
    assert len(region) % stride == 0
    rows, number, _ = fixed_records(region, BYTES)
    assert rows.shape == (0, BYTES)
    assert number == stride // 8 * 3


def test_a_record_whose_bytes_look_like_a_loss_is_a_record():
    written = (lost(9) * 8)[:BYTES]
    rows, number, _ = fixed_records(sample(written) + lost(1), BYTES)
    assert ([row.tobytes() for row in rows], number) == ([written], 1)


def test_what_is_neither_sample_nor_loss_is_passed_over():
    rows, number, _ = fixed_records(other() + sample(record(1)) + other(), BYTES)
    assert ([row.tobytes() for row in rows], number) == ([record(1)], 0)


def test_nothing_is_no_record_of_the_right_size():
    rows, number, _ = fixed_records(b"", BYTES)
    assert (rows.shape, number) == ((0, BYTES), 0)


@pytest.mark.parametrize("size", range(1, 25))
def test_a_sample_of_any_length_has_up_to_seven_bytes_behind_it(size):
    data = bytes(range(1, size + 1))
    region = sample(data) + lost(5) + sample(b"end")
    assert len(region) % 8 == 0
    (first, last), number = contents(region)
    assert first[:size] == data
    assert len(first) - size < 8
    assert (last[:3], number) == (b"end", 5)


_data = st.one_of(
    st.binary(min_size=1, max_size=40).map(lambda data: ("sample", data)),
    st.integers(0, 2**40).map(lambda number: ("lost", number)),
    st.just(("other", None)),
)


@given(st.lists(_data, max_size=12))
def test_whatever_lies_between_them_all_samples_are_read_and_all_losses_added(written):
    lay = {"sample": sample, "lost": lost, "other": lambda _: other()}
    found, number = contents(b"".join(lay[kind](value) for kind, value in written))
    data = [value for kind, value in written if kind == "sample"]
    assert [part[: len(value)] for part, value in zip(found, data, strict=True)] == data
    assert number == sum(value for kind, value in written if kind == "lost")
