"""Rings and perf buffers of any content: what is valid is read, what is not is counted."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskstream.record import NO_CPU
from taskstream.source import args_record
from taskstream.source.perf_buffer import fixed_records, samples
from taskstream.source.ring import FixedRing, VariableRing
from tests.fuzz.target import TARGETS
from tests.ring_bytes import BUSY, DISCARDED, record, ring_of, sample

RING, SIZE = 4096, 192

bits = st.sampled_from([0, 0, 0, DISCARDED, BUSY])
right = st.binary(min_size=SIZE, max_size=SIZE)
odd = st.binary(max_size=100)
positions = st.integers(0, 2**20).map(lambda n: 8 * n)


@given(st.lists(st.tuples(right, bits), max_size=18), positions)
def test_a_ring_is_read_up_to_the_first_record_that_is_being_written(written, position):
    content = b"".join(record(data, bit) for data, bit in written)
    before_busy = [bit for _, bit in written]
    ready = before_busy.index(BUSY) if BUSY in before_busy else len(written)
    with ring_of(content, position=position) as descriptor:
        ring = FixedRing(descriptor, RING, SIZE)
        found = [row.tobytes() for row in ring.read()]
        assert ring.waiting_bytes == (len(written) - ready) * (SIZE + 8)
        assert ring.invalid == 0
        ring.close()
    assert found == [data for data, bit in written[:ready] if not bit]


@given(st.lists(st.one_of(right, odd), max_size=18), positions)
def test_records_of_a_wrong_size_are_counted_and_shift_none(written, position):
    content = b"".join(map(record, written))
    with ring_of(content, position=position) as descriptor:
        ring = FixedRing(descriptor, RING, SIZE)
        found = [row.tobytes() for row in ring.read()]
        assert ring.waiting_bytes == 0
        assert ring.invalid == sum(len(data) != SIZE for data in written)
        ring.close()
    assert found == [data for data in written if len(data) == SIZE]


def test_a_length_that_leads_past_the_producer_costs_what_lies_behind_it_and_no_more():
    content = record(b"one") + struct.pack("<II", 4000, 0) + b"\0" * 64
    with ring_of(content) as descriptor:
        ring = VariableRing(descriptor, RING)
        assert (list(ring.read()), ring.invalid, ring.waiting_bytes) == ([b"one"], 1, 0)
        ring.close()


def test_positions_beyond_32_bits_and_63_are_positions():
    for position in (2**32 - 400, 2**63 - 400):
        content = record(b"a" * SIZE) * 4
        with ring_of(content, position=position) as descriptor:
            ring = FixedRing(descriptor, RING, SIZE)
            assert ring.read().shape == (4, SIZE)
            assert ring.waiting_bytes == 0
            ring.close()


@pytest.mark.parametrize(
    "broken",
    [
        struct.pack("=IHH", 9, 0, 0),  # leads nowhere
        struct.pack("=IHH", 9, 0, 7),
        struct.pack("=IHH", 9, 0, 4000),
        b"\x09\0\0",
    ],
)
def test_a_perf_record_whose_size_cannot_be_ends_what_can_be_told_apart(broken):
    region = sample(b"a" * SIZE) + broken
    assert samples(region) == ([(12, SIZE + 4)], 0, 1)
    records, lost, invalid = fixed_records(region, SIZE)
    assert ([bytes(row) for row in records], lost, invalid) == ([b"a" * SIZE], 0, 1)


def test_a_sample_longer_than_its_record_is_counted_and_the_next_is_read():
    longer = bytearray(sample(b"b" * SIZE))
    longer[8:12] = struct.pack("=I", SIZE + 5)
    region = bytes(longer) + sample(b"a" * SIZE)
    records, _, invalid = fixed_records(region, SIZE)
    assert ([bytes(row) for row in records], invalid) == ([b"a" * SIZE], 1)


def test_a_sample_shorter_than_an_event_is_counted():
    records, _, invalid = fixed_records(sample(b"short") + sample(b"a" * SIZE), SIZE)
    assert ([bytes(row) for row in records], invalid) == ([b"a" * SIZE], 1)


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, NO_CPU - 1))
def test_arguments_are_read_to_their_lengths_and_cut_ones_are_none(filename, argv, cpu):
    head = struct.pack("<QHHI", 7, cpu, len(filename), len(argv))
    whole = head + filename + argv
    assert args_record.parse(whole + b"\xaa" * 7) == ((cpu, 7), (filename, argv))
    assert args_record.parse(whole[:-1]) is None


def test_a_cgroup_is_told_with_its_path_or_as_gone():
    for gone in (False, True):
        raw = struct.pack("<QHHI", 4711, NO_CPU, 4, gone) + b"/a/b"
        assert args_record.parse(raw) == (4711, b"/a/b", gone)


@pytest.mark.parametrize("target", ["ring", "perf", "args"])
@given(data=st.data())
def test_no_bytes_break_a_reader_of_the_kernels_buffers(target, data):
    parts = st.one_of(
        st.binary(max_size=60),
        odd.map(record),
        odd.map(sample),
        st.integers(0, 24).map(lambda n: sample(b"x" * 8 * n)),
        st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n)),
    )
    TARGETS[target](
        data.draw(st.binary(min_size=3, max_size=3))
        + b"".join(data.draw(st.lists(parts, max_size=12)))
    )
