"""The record is laid out as the C compiler would, and every table refers to what exists."""

import numpy as np
import pytest

from taskstream import record
from taskstream.record import (
    ARGS_HEADER,
    CALLS,
    COUNTS,
    CPU_TOTALS,
    FIELDS,
    FLAGS,
    KINDS,
    RECORD,
    SETTINGS,
    WINDOW_TOTALS,
    Field,
)

COMMON = [f for f in FIELDS if not f.kinds]


def place(name: str) -> tuple[int, int]:
    """Return first byte and first byte behind of a field."""
    dtype, offset = RECORD.fields[name][:2]
    return offset, offset + dtype.itemsize


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_of_a_kind_follow_one_another_without_a_hole(kind):
    own = [f for f in FIELDS if kind in f.kinds]
    places = [place(f.name) for f in (*COMMON, *own)]
    assert places[0][0] == 0
    assert [start for start, _ in places[1:]] == [end for _, end in places[:-1]]


def test_a_record_is_at_most_192_bytes_and_a_multiple_of_eight():
    assert RECORD.itemsize <= 192
    assert RECORD.itemsize % 8 == 0


def test_no_byte_of_a_record_is_beyond_the_longest_kind():
    assert RECORD.itemsize - max(place(f.name)[1] for f in FIELDS) < 8


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f.name)
def test_a_field_is_little_endian_and_aligned_to_its_own_size(field):
    dtype, offset = RECORD.fields[field.name][:2]
    assert dtype.str[0] in "<|"
    assert dtype.kind == "S" or offset % dtype.itemsize == 0


def test_a_field_that_would_need_padding_is_refused():
    fields = (Field(name="a", doc="", type="u8"), Field(name="b", doc="", type="u32"))
    with pytest.raises(AssertionError, match="b at 1 would need padding"):
        record._layout(fields)


def test_fields_of_every_kind_come_before_those_of_one_kind():
    belongs = [bool(f.kinds) for f in FIELDS]
    assert belongs == sorted(belongs)


@pytest.mark.parametrize("dtype", [CPU_TOTALS, WINDOW_TOTALS, ARGS_HEADER, SETTINGS])
def test_what_the_kernel_side_shares_has_no_hole(dtype):
    sizes = sum(dtype[name].itemsize for name in dtype.names)
    assert dtype.itemsize == sizes
    assert dtype.itemsize % 8 == 0


@pytest.mark.parametrize(
    "values",
    [KINDS.values(), CALLS.values(), [flag.bit for flag in FLAGS.values()]],
    ids=["kinds", "calls", "flags"],
)
def test_no_number_is_used_twice(values):
    assert len(values) == len(set(values))


def test_kinds_and_calls_leave_zero_to_memory_that_nobody_set():
    assert 0 not in KINDS.values()
    assert 0 not in CALLS.values()


def test_flags_hide_and_show_fields_that_exist():
    names = {
        f.name for kind in KINDS for f in (*record.wire_fields(kind), *record.text_fields(kind))
    }
    touched = {name for flag in FLAGS.values() for name in (*flag.hides, *flag.shows)}
    assert touched <= names


def test_every_flag_fits_the_flags_field():
    assert max(flag.mask for flag in FLAGS.values()) <= np.iinfo(RECORD["flags"]).max


def test_every_kind_is_counted_but_the_tasks_of_the_snapshot():
    assert {count.kind for count in COUNTS} == set(KINDS) - {"task"}


def test_flag_names_reads_back_what_masks_say():
    flags = FLAGS["thread"].mask | FLAGS["io_unknown"].mask
    assert record.flag_names(flags) == ["thread", "io_unknown"]


def test_a_bit_that_this_version_does_not_know_has_no_name():
    assert record.flag_names(1 << 31) == []


def test_every_kind_has_the_identity_of_task_process_and_parent():
    identity = {"pid", "start_ns", "tgid", "process_start_ns", "ppid", "parent_start_ns"}
    for kind in KINDS:
        assert identity <= {f.name for f in record.wire_fields(kind)}


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_members_of_a_message_share_a_name(kind):
    groups = (record.wire_fields, record.derived_fields, record.text_fields)
    names = [f.wire for group in groups for f in group(kind)]
    assert len(names) == len(set(names))


def test_every_kind_says_what_it_means():
    assert [row["name"] for row in record.kind_docs()] == list(KINDS)
    assert all(row["doc"] for row in record.kind_docs())
